"""Small random models whose states do not commute, and three slow truths in NumPy.

A model reads a token into its state by a matrix of that token, so that every sequence has a state
of its own and any mistake in reordering states shows. The truths share only the model's step:
enumeration of every sequence, a beam search in plain Python that never stops early, a greedy loop.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

HIDDEN = 4


class Model(NamedTuple):
    """`reads` [V, H, H], `biases` [V, H], `writes` [V, H], `state` [H]."""

    reads: Any
    biases: Any
    writes: Any
    state: Any


def random_models(seed: int, count: int, vocabulary: int, sharpness: float = 2.0) -> Model:
    """`count` models, stacked on axis 0."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=(count, *shape))

    return Model(
        draw(vocabulary, HIDDEN, HIDDEN),
        draw(vocabulary, HIDDEN),
        sharpness * draw(vocabulary, HIDDEN),
        draw(HIDDEN),
    )


def one(models: Model, index: int) -> Model:
    return Model(*(leaf[index] for leaf in models))


def jax_step(model: Model, state, token):
    """As the search takes it; the attention is the state that was read, to be recognised by."""
    model = Model(*(jnp.asarray(leaf) for leaf in model))
    state = jnp.tanh(model.reads[token] @ state + model.biases[token])
    return state, (model.writes @ state, state)


def numpy_step(model: Model, states, tokens):
    """For n hypotheses: `states` [n, H], `tokens` [n]; log-probabilities [n, V]."""
    states = np.tanh(np.einsum("nij,nj->ni", model.reads[tokens], states) + model.biases[tokens])
    logits = states @ model.writes.T
    top = logits.max(1, keepdims=True)
    return states, logits - (top + np.log(np.exp(logits - top).sum(1, keepdims=True)))


def gnmt_score(log_prob, length, alpha):
    return log_prob / ((5 + length) / 6) ** alpha


class Row(NamedTuple):
    tokens: tuple[int, ...]
    log_prob: float
    score: float


def enumerate_all(model: Model, bos: int, eos: int, limit: int, min_length: int, alpha: float):
    """Every finished sequence and every cut one, each sorted best first."""
    vocabulary = len(model.biases)
    going = [token for token in range(vocabulary) if token != eos]
    finished = []
    prefixes, totals, states = [()], np.zeros(1), model.state[None]
    for length in range(1, limit + 1):
        newest = np.array([p[-1] if p else bos for p in prefixes], int)
        states, log_probs = numpy_step(model, states, newest)
        extended = totals[:, None] + log_probs
        if length >= min_length:
            scores = gnmt_score(extended[:, eos], length, alpha)
            ended = zip(prefixes, extended[:, eos], scores, strict=True)
            finished += [Row((*prefix, eos), total, score) for prefix, total, score in ended]
        prefixes = [(*prefix, token) for prefix in prefixes for token in going]
        totals, states = extended[:, going].ravel(), np.repeat(states, len(going), axis=0)
    scores = gnmt_score(totals, limit, alpha)
    cut = [Row(*row) for row in zip(prefixes, totals, scores, strict=True)]
    return sorted(finished, key=lambda r: -r.score), sorted(cut, key=lambda r: -r.score)


def plain_beam(model, bos, eos, width, limit, min_length, alpha, n_best):
    """The documented search, to the very limit, with all that finished kept."""
    finished, live = [], [((), 0.0, model.state)]
    for length in range(1, limit + 1):
        candidates = []
        for tokens, total, state in live:
            new_state, log_probs = read_one(model, state, tokens[-1] if tokens else bos)
            for token, log_prob in enumerate(log_probs):
                if token != eos or length >= min_length:
                    candidates.append(((*tokens, token), total + log_prob, new_state))
        candidates.sort(key=lambda c: -c[1])
        ended = [c for c in candidates[:width] if c[0][-1] == eos]
        finished += [Row(c[0], c[1], gnmt_score(c[1], length, alpha)) for c in ended]
        live = [c for c in candidates if c[0][-1] != eos][:width]
        if width == 1 and ended:
            live = []
    cut = [Row(tokens, total, gnmt_score(total, limit, alpha)) for tokens, total, _ in live]
    rows = sorted(finished, key=lambda r: -r.score)
    return list(itertools.islice(itertools.chain(rows, cut), n_best))


def plain_greedy(model, bos, eos, limit, min_length):
    tokens, total, state, token = [], 0.0, model.state, bos
    while len(tokens) < limit and (not tokens or tokens[-1] != eos):
        state, log_probs = read_one(model, state, token)
        choice = log_probs.copy()
        if len(tokens) + 1 < min_length:
            choice[eos] = -np.inf
        token = int(np.argmax(choice))
        total += log_probs[token]
        tokens.append(token)
    return tuple(tokens), total


def read_one(model, state, token):
    states, log_probs = numpy_step(model, state[None], np.array([token]))
    return states[0], log_probs[0]


def forced(model, bos, tokens, lengths):
    """Log-probabilities [n, T] and states [n, T, H] of given sequences, zero past the lengths."""
    states, newest = np.repeat(model.state[None], len(tokens), 0), np.full(len(tokens), bos)
    log_probs, seen = [], []
    for t, targets in enumerate(tokens.T):
        states, rows = numpy_step(model, states, newest)
        valid = t < lengths
        log_probs.append(np.where(valid, rows[np.arange(len(rows)), targets], 0))
        seen.append(np.where(valid[:, None], states, 0))
        newest = targets
    return np.stack(log_probs, 1), np.stack(seen, 1)


def table_step(table):
    """Looks up the probabilities of the next token in `table` [T, V, V], by time and token."""
    logits = jnp.log(jnp.asarray(table))

    def step(time, token):
        row = logits[time, token]
        return time + 1, (row, jnp.stack([time, token]))

    return step
