"""Every processor, alone and in pairs, inside a search and against enumeration in NumPy.

One compiled search holds the whole chain; its traced strengths say which links do anything. That
those of the others do nothing is tested by the same comparison.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V = 0, 1, 4
RISE = np.array([0.5, 0.0, -np.inf, 1.0])
RISES = np.array([[0.0, -np.inf, 0.3, 0.0], [1.0, 0.0, 0.0, -2.0]])
TURNS = np.array([[1, -1, 0, 2], [-1, -1, 2, 1], [0, -1, 2, -1]])
ENDS = np.array([False, True, True])


def kept(keep, logits):
    return np.where(keep, logits, -np.inf)


def is_one_of(tokens):
    return np.isin(np.arange(V), tokens)


def until(mass, cost, log_probs):
    """Token by token, in the order of cost."""
    keep = np.zeros_like(log_probs, bool)
    for row, order in enumerate(np.argsort(cost, axis=1)):
        total = 0.0
        for token in order:
            if total < mass:
                keep[row, token] = True
                total += np.exp(log_probs[row, token])
    return kept(keep, log_probs)


def force_prefix(log_probs, history):
    wanted = {0: 3, 2: 0}.get(len(history))
    return log_probs if wanted is None else kept(is_one_of([wanted]), log_probs)


def bias_by_step(log_probs, history):
    return log_probs + RISES[len(history)] if len(history) < 2 else log_probs


def no_repeat(log_probs, history):
    """Runs of two, but not those with token 2."""
    runs = set(itertools.pairwise(history))
    barred = [v for v in range(V) if (*history[-1:], v) in runs and 2 not in (*history[-1:], v)]
    return kept(~is_one_of(barred), log_probs)


def top_k(log_probs, history):
    return kept(np.argsort(np.argsort(-log_probs, axis=1), axis=1) < 2, log_probs)


def min_p(log_probs, history):
    shares = np.exp(log_probs - log_probs.max(1, keepdims=True, initial=-1e9))
    return kept(shares >= 0.3, log_probs)


def typical(log_probs, history):
    with np.errstate(invalid="ignore"):
        information = np.nan_to_num(np.exp(log_probs) * log_probs).sum(1, keepdims=True)
        return until(0.6, np.abs(log_probs - information), log_probs)


def turns(log_probs, history):
    state = 0
    for token in history:
        state = TURNS[state, token] if state >= 0 else -1
    allowed = np.where(np.arange(V) == EOS, ENDS[state], TURNS[state] >= 0) & (state >= 0)
    return kept(allowed, log_probs)


def counts(history):
    return np.bincount(np.array(history, int), minlength=V)


# The processor of a traced strength; the strength at which it does nothing; another; the truth.
LINKS = {
    "force_prefix": (rx.force_prefix, np.full(3, -1), np.array([3, -1, 0]), force_prefix),
    "bias": (rx.bias, np.zeros(V), RISE, lambda lp, _: lp + RISE),
    "bias_by_step": (rx.bias_by_step, np.zeros((2, V)), RISES, bias_by_step),
    "suppress": (
        rx.suppress,
        np.array([-1, -5]),
        np.array([3, -1]),
        lambda lp, _: kept(~is_one_of([3]), lp),
    ),
    "repetition": (
        lambda penalty: rx.repetition_penalty(penalty, V),
        1.0,
        1.7,
        lambda lp, history: np.where(is_one_of(history), 1.7 * lp, lp),
    ),
    "frequency": (
        lambda penalty: rx.frequency_penalty(penalty, V),
        0.0,
        0.8,
        lambda lp, history: lp - 0.8 * counts(history),
    ),
    "presence": (
        lambda penalty: rx.presence_penalty(penalty, V),
        0.0,
        -0.9,
        lambda lp, history: lp + 0.9 * (counts(history) > 0),
    ),
    "no_repeat": (
        lambda exclude: rx.no_repeat_ngrams(2, 4, exclude),
        np.arange(V),
        np.array([2, -1, -1, -1]),
        no_repeat,
    ),
    "temperature": (rx.temperature, 1.0, 0.6, lambda lp, _: lp / 0.6),
    "top_k": (rx.keep_top_k, V, 2, top_k),
    "top_p": (rx.keep_top_p, 1.0, 0.7, lambda lp, _: until(0.7, -lp, lp)),
    "min_p": (rx.keep_min_p, 1e-200, 0.3, min_p),
    "typical": (rx.keep_typical, 1.0, 0.6, typical),
    "automaton": (
        lambda table: rx.following(rx.automaton(table[:, :V], table[:, V] > 0), eos=EOS),
        np.array([[0, -1, 0, 0, 1]] * 3),
        np.concatenate([TURNS, ENDS[:, None]], 1),
        turns,
    ),
}
CASES = [(), *((name,) for name in LINKS), *itertools.combinations(LINKS, 2), tuple(LINKS)[4:]]


def search(strengths, model, *, limit, width):
    step = functools.partial(slow.jax_step, model)
    chain = [make(strengths[name]) for name, (make, *_) in LINKS.items()]
    step, state = rx.processed(step, jnp.asarray(model.state), *chain)
    found = rx.beam_search(
        step,
        state,
        bos=BOS,
        eos=EOS,
        beam_size=width,
        max_length=limit,
        n_best=3,
        length_penalty=0.6,
    )
    force = functools.partial(rx.score, step, state, bos=BOS)
    return found, jax.vmap(force)(found.tokens, found.lengths).log_prob


def compare(cases, count, limit, width):
    """One compilation for all cases and models."""
    models, traces = slow.random_models(40, count, V), []
    rows = [{name: LINKS[name][1 + (name in case)] for name in LINKS} for case in cases]
    strengths = jax.tree.map(lambda *values: np.stack(values), *rows)

    def traced(strengths, model):
        traces.append(1)
        return search(strengths, model, limit=limit, width=width)

    with x64():
        run = jax.jit(jax.vmap(jax.vmap(traced, (None, 0)), (0, None)))
        found, forced = jax.tree.map(np.asarray, run(strengths, models))
        run(jax.tree.map(lambda leaf: leaf[::-1], strengths), models)
    assert len(traces) == 1
    assert not found.invalid.any()
    table = changed.tree(models, BOS, EOS, limit)
    for place, case in enumerate(cases):

        def change(log_probs, history, case=case):
            for name in case:
                log_probs = changed.normalised(LINKS[name][3](log_probs, history))
            return log_probs

        one = jax.tree.map(lambda leaf, place=place: leaf[place], found)
        changed.assert_best(one, changed.enumerated(table, change, EOS, limit, 0.6))
        ended = one.stops == rx.StopReason.EOS
        np.testing.assert_allclose(
            np.where(ended, forced[place], 0), np.where(ended, one.log_probs, 0), 1e-10, 1e-11
        )


def test_a_search_through_processors_alone_and_in_pairs_is_brute_force():
    compare(CASES, count=5, limit=4, width=108)


@pytest.mark.slow
def test_longer_sequences_and_more_models():
    compare([(name,) for name in LINKS] + [tuple(LINKS)[4:]], count=50, limit=6, width=972)


def test_a_processed_model_gives_what_it_draws():
    """The frequencies of 20000 samples, against the probabilities of the changed model: chi^2."""
    case, limit, draws = ("frequency", "presence", "top_p"), 3, 20000
    models = slow.random_models(41, 1, V, sharpness=0.3)
    strengths = {name: LINKS[name][1 + (name in case)] for name in LINKS}

    def one(key):
        step = functools.partial(slow.jax_step, slow.one(models, 0))
        chain = [make(strengths[name]) for name, (make, *_) in LINKS.items()]
        step, state = rx.processed(step, jnp.asarray(models.state[0]), *chain)
        return rx.sample(step, state, key=key, bos=BOS, eos=EOS, max_length=limit)

    def change(log_probs, history):
        for name in case:
            log_probs = changed.normalised(LINKS[name][3](log_probs, history))
        return log_probs

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), draws))
    tokens, lengths = np.asarray(found.tokens[:, 0]), np.asarray(found.lengths[:, 0])
    sequences, log_probs, _ = changed.enumerated(
        changed.tree(models, BOS, EOS, limit), change, EOS, limit, 0.0
    )
    drawn = [tuple(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)]
    expected = draws * np.exp(log_probs[0])
    seen = np.array([drawn.count(sequence) for sequence in sequences])
    assert not seen[expected == 0].any()
    likely = expected > 5
    statistic = ((seen - expected)[likely] ** 2 / expected[likely]).sum()
    freedom = likely.sum()
    assert freedom > 4
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)  # about 1 in 100,000, were it random


def test_what_is_forbidden_altogether_is_no_nan():
    step, state = rx.processed(
        lambda s, t: (s, jnp.zeros(3)), 0, rx.bias(jnp.full(3, -jnp.inf)), rx.temperature(0.5)
    )
    run = functools.partial(rx.beam_search, step, bos=0, eos=1, beam_size=2, max_length=3)
    result = jax.jit(run)(state)
    assert not result.invalid
    assert result.stops.tolist() == [0, 0]


@pytest.mark.parametrize("make", [lambda: rx.keep_top_k(1), lambda: rx.suppress([2])])
def test_invalid_logits_do_not_hide_behind_a_processor(make):
    def run(logit):
        step, state = rx.processed(lambda s, t: (s, jnp.array([0.0, 1.0, logit])), 0, make())
        return rx.greedy(step, state, bos=0, eos=1, max_length=3).invalid

    invalid = jax.jit(jax.vmap(run))(jnp.array([np.nan, np.inf, 0.0, -np.inf]))
    assert invalid.tolist() == [True, True, False, False]


def applied(processor):
    """The first log-probabilities, of three tokens that were equally likely."""
    return processor.apply(processor.state, jnp.int32(0), jnp.full(3, -jnp.log(3.0)))[1]


def test_no_prefix_at_all():
    np.testing.assert_allclose(applied(rx.force_prefix([])), -np.log(3), rtol=1e-6)


def test_a_length_relative_to_the_source():
    lengths = jax.jit(jax.vmap(rx.relative_length, (0, None, None)))(jnp.arange(6), 1.5, -2)
    assert lengths.tolist() == [0, 0, 1, 2, 4, 6]  # round(7.5) is 8: to the even one


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.temperature(0.0), ValueError, "temperature: value must be above 0"),
        (lambda: rx.bias(np.zeros((2, 3))), ValueError, "bias: values must have shape"),
        (lambda: rx.bias_by_step(np.zeros(3)), ValueError, "bias_by_step: values must have shape"),
        (lambda: rx.suppress([1.0]), TypeError, "suppress: tokens must be integers, got float32"),
        (lambda: rx.force_prefix(3), ValueError, r"force_prefix: tokens must have shape \[n\]"),
        (lambda: rx.temperature(None), TypeError, "temperature: value must be a number, got None"),
        (lambda: rx.temperature(1j), TypeError, "temperature: value must be a real number"),
        (lambda: applied(rx.bias([1.0])), ValueError, "bias: made for a vocabulary of 1, but"),
        (lambda: applied(rx.bias_by_step(np.ones((2, 1)))), ValueError, "bias_by_step: made for"),
        (lambda: applied(rx.presence_penalty(1.0, 1)), ValueError, "presence_penalty: made for"),
        (lambda: rx.bias_by_step(np.zeros((0, 3))), ValueError, "bias_by_step: values must have"),
        (lambda: rx.relative_length(-1, 2.0), ValueError, "relative_length: source_length must"),
        (lambda: rx.processed(None, 0, abs), TypeError, "processed: expected a Processor"),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
