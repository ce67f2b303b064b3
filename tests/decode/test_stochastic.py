"""Sequences drawn without replacement: against the whole tree, and against exact probabilities."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.support import x64

BOS, EOS = 0, 1


@functools.partial(jax.jit, static_argnames=("samples", "max_length"))
def draw(model, keys, options, samples, max_length):
    step = functools.partial(slow.jax_step, model)

    def one(key):
        return rx.stochastic_beam_search(
            step,
            model.state,
            key=key,
            bos=BOS,
            eos=EOS,
            samples=samples,
            max_length=max_length,
            **options,
        )

    return jax.vmap(one)(keys)


def several(model, count, samples, limit, seed=0, **options):
    with x64():
        keys = jax.random.split(jax.random.key(seed), count)
        return jax.tree.map(np.asarray, draw(model, keys, options, samples, limit))


def rows_of(result, i):
    rows = zip(result.rows.tokens[i], result.rows.lengths[i], strict=True)
    return [tuple(t[:n].tolist()) for t, n in rows if n]


def leaves(model, limit, min_length=0):
    """Log-probability of each sequence under the sampling distribution."""
    finished, cut = slow.enumerate_all(model, BOS, EOS, limit, 0, 0.0)
    if min_length == 0:
        return {tuple(map(int, row.tokens)): row.log_prob for row in finished + cut}
    table = {}
    for row in finished + cut:
        tokens, state, total = tuple(map(int, row.tokens)), model.state, 0.0
        for t, (before, token) in enumerate(itertools.pairwise((BOS, *tokens))):
            state, log_probs = slow.read_one(model, state, before)
            if t + 1 < min_length:
                log_probs = log_probs - np.log1p(-np.exp(log_probs[EOS]))
                log_probs[EOS] = -np.inf
            total += log_probs[token]
        if total > -np.inf:
            table[tokens] = total
    return table


def test_the_search_loses_nothing():
    """Few samples are the first of all the sequences that there are, drawn with the same keys."""
    limit, everything = 4, 3**3 + 3**2 + 3 + 1 + 3**4
    for seed in range(3):
        model = slow.one(slow.random_models(60 + seed, 1, 4, sharpness=1.0), 0)
        whole = several(model, 30, everything, limit)
        exact = leaves(model, limit)
        assert len(exact) == everything
        for samples in (1, 6):
            few = several(model, 30, samples, limit)
            for i in range(30):
                rows = rows_of(whole, i)
                assert sorted(rows) == sorted(exact)  # each sequence once
                assert rows_of(few, i) == rows[:samples]
            np.testing.assert_allclose(few.perturbed, whole.perturbed[:, :samples], rtol=1e-9)
            np.testing.assert_allclose(few.threshold, whole.perturbed[:, samples], rtol=1e-9)
        assert (whole.threshold == -np.inf).all()
        np.testing.assert_array_equal(whole.log_inclusion, 0)
        np.testing.assert_allclose(whole.weights.sum(-1), 1, rtol=1e-9)
        found = [exact[row] for row in rows_of(whole, 0)]
        np.testing.assert_allclose(whole.log_probs[0], found, rtol=1e-9)


def test_the_noise_is_gumbel():
    """Of one sequence, perturbed less its log-probability: Kolmogorov-Smirnov, one in a million."""
    count, limit = 4000, 2
    model = slow.one(slow.random_models(64, 1, 3, sharpness=1.0), 0)
    whole = several(model, count, 7, limit)
    assert len(leaves(model, limit)) == 7
    for target in leaves(model, limit):
        rows = [rows_of(whole, i).index(target) for i in range(count)]
        noise = (whole.perturbed - whole.log_probs)[np.arange(count), rows]
        uniform = np.sort(np.exp(-np.exp(-noise)))
        distance = np.abs(uniform - (np.arange(count) + 0.5) / count).max() + 0.5 / count
        assert distance * math.sqrt(count) < math.sqrt(-0.5 * math.log(1e-6 / 2))


@pytest.mark.parametrize("min_length", [0, 2])
def test_frequencies_are_the_inclusion_probabilities(min_length):
    """Sets of two, drawn without replacement: a chi-square test at five sigma."""
    count, limit = 10000, 3
    model = slow.one(slow.random_models(65, 1, 3, sharpness=0.7), 0)
    result = several(model, count, 2, limit, min_length=min_length)
    table = leaves(model, limit, min_length)
    probability = {s: math.exp(value) for s, value in table.items()}
    expected: dict = {
        (a, b): count * probability[a] * probability[b] / (1 - probability[a])
        for a, b in itertools.permutations(probability, 2)
    }
    found = dict.fromkeys(expected, 0)
    for i in range(count):
        found[tuple(rows_of(result, i))] += 1
    large = [pair for pair in expected if expected[pair] >= 5]
    rest = [sum(t[p] for p in t if p not in large) for t in (found, expected)]
    pairs = [(found[p], expected[p]) for p in large] + [(rest[0], rest[1] + 5)]
    statistic = sum((f - e) ** 2 / e for f, e in pairs[:-1])
    freedom = len(large) - 1
    assert freedom > 20
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)
    assert abs(rest[0] - rest[1]) < 5 * math.sqrt(rest[1] + 5)
    drawn = [[table[row] for row in rows_of(result, i)] for i in range(count)]
    np.testing.assert_allclose(result.log_probs, drawn, rtol=1e-9)


def test_the_estimator_is_unbiased():
    """Of the mean length and of the entropy, within five standard errors; and it says enough."""
    count, limit = 10000, 4
    model = slow.one(slow.random_models(66, 1, 4, sharpness=0.7), 0)
    exact = leaves(model, limit)
    result = several(model, count, 5, limit)
    for value, truth in (
        (result.rows.lengths, sum(math.exp(p) * len(s) for s, p in exact.items())),
        (-result.log_probs, sum(-math.exp(p) * p for p in exact.values())),
        (np.ones_like(result.weights), 1.0),
    ):
        estimates = (result.weights * value).sum(-1)
        error = estimates.std() / math.sqrt(count)
        assert abs(estimates.mean() - truth) < 5 * error
        assert error < 0.03 * truth
    inclusion = np.exp(result.log_inclusion)
    exceeds = -np.expm1(-np.exp(result.log_probs - result.threshold[:, None]))
    np.testing.assert_allclose(inclusion, exceeds, rtol=1e-9)


def test_rows_are_those_of_forced_decoding():
    model = slow.one(slow.random_models(67, 1, 6, sharpness=0.5), 0)
    options = {"min_length": 3, "length_limit": 5, "length_penalty": 0.6}
    result = several(model, 20, 4, 8, **options)
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), result.rows)
    assert set(np.unique(rows.stops)) == {rx.StopReason.EOS, rx.StopReason.CUT}
    assert rows.lengths.min() >= 3
    assert rows.lengths.max() == 5
    log_probs, states = slow.forced(model, BOS, rows.tokens, rows.lengths)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(rows.token_log_probs, log_probs)
    close(rows.attention, states)
    close(rows.log_probs, log_probs.sum(-1))
    close(rows.scores, slow.gnmt_score(log_probs.sum(-1), rows.lengths, 0.6))
    assert not rows.proven.any()


def test_nothing_is_drawn_from_what_is_no_distribution():
    """Word 2 leads nowhere: what began with it is not drawn, and the others once each."""

    @jax.jit
    def run(key, bad):
        rows = jnp.asarray([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]]).at[2].set(bad)
        sizes = {"samples": 6, "max_length": 2}
        step = lambda state, token: (state, rows[token])  # noqa: E731
        return rx.stochastic_beam_search(step, 0, key=key, bos=0, eos=1, **sizes)

    for bad in (np.nan, np.inf, -np.inf):
        for seed in range(3):
            result = run(jax.random.key(seed), bad)
            assert bool(result.rows.invalid) == (bad != -np.inf)
            found = zip(result.rows.tokens, result.rows.lengths, strict=True)
            found = sorted(tuple(t[:n].tolist()) for t, n in found)
            assert found == [(), (), (0, 0), (0, 1), (0, 2), (1,)]
            empty = np.asarray(result.rows.stops) == rx.StopReason.EMPTY
            assert (np.asarray(result.weights)[empty] == 0).all()
            assert np.isfinite(np.asarray(result.weights)).all()


def test_a_key_that_is_none_is_an_error():
    step = lambda state, token: (state, jnp.zeros(3))  # noqa: E731
    with pytest.raises(TypeError, match="stochastic_beam_search: key must be one jax"):
        rx.stochastic_beam_search(step, 0, key=3, bos=0, eos=1, samples=2, max_length=2)
