"""Small random models whose states do not commute, and three slow truths in NumPy.

A model reads a token into its state by a matrix of that token, so that every sequence has a state
of its own and any mistake in reordering states shows. The truths share only the model's step:
enumeration of every sequence, a beam search in plain Python that never stops early, a greedy loop.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

HIDDEN = 4


class Model(NamedTuple):
    """`reads` [V, H, H], `biases` [V, H], `writes` [V, H], `state` [H]."""

    reads: np.ndarray
    biases: np.ndarray
    writes: np.ndarray
    state: np.ndarray


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
    state = jnp.tanh(model.reads[token] @ state + model.biases[token])
    return state, (model.writes @ state, state)


def numpy_step(model: Model, state, token):
    state = np.tanh(model.reads[token] @ state + model.biases[token])
    logits = model.writes @ state
    top = logits.max()
    return state, logits - (top + np.log(np.exp(logits - top).sum()))


def gnmt_score(log_prob, length, alpha):
    return log_prob / ((5 + length) / 6) ** alpha


class Row(NamedTuple):
    tokens: tuple[int, ...]
    log_prob: float
    score: float


def enumerate_all(model: Model, bos: int, eos: int, limit: int, min_length: int, alpha: float):
    """Every finished sequence and every cut one, each sorted best first."""
    finished, live = [], [((), 0.0, model.state)]
    for length in range(1, limit + 1):
        extended = []
        for tokens, total, state in live:
            new_state, log_probs = numpy_step(model, state, tokens[-1] if tokens else bos)
            for token, log_prob in enumerate(log_probs):
                longer = ((*tokens, token), total + log_prob)
                if token != eos:
                    extended.append((*longer, new_state))
                elif length >= min_length:
                    finished.append(Row(*longer, gnmt_score(longer[1], length, alpha)))
        live = extended
    cut = [Row(tokens, total, gnmt_score(total, limit, alpha)) for tokens, total, _ in live]
    return sorted(finished, key=lambda r: -r.score), sorted(cut, key=lambda r: -r.score)


def plain_beam(model, bos, eos, width, limit, min_length, alpha, n_best):
    """The documented search, to the very limit, with all that finished kept."""
    finished, live = [], [((), 0.0, model.state)]
    for length in range(1, limit + 1):
        candidates = []
        for tokens, total, state in live:
            new_state, log_probs = numpy_step(model, state, tokens[-1] if tokens else bos)
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
        state, log_probs = numpy_step(model, state, token)
        choice = log_probs.copy()
        if len(tokens) + 1 < min_length:
            choice[eos] = -np.inf
        token = int(np.argmax(choice))
        total += log_probs[token]
        tokens.append(token)
    return tuple(tokens), total


def forced(model, bos, tokens):
    """Log-probabilities and states of a given sequence."""
    state, token, log_probs, states = model.state, bos, [], []
    for target in tokens:
        state, row = numpy_step(model, state, token)
        log_probs.append(row[target])
        states.append(state)
        token = target
    return np.array(log_probs), np.array(states).reshape(-1, HIDDEN)
