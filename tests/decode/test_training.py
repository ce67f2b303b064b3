"""Risks against the expectation over every sequence; what a teacher writes, row by row."""

from __future__ import annotations

import functools
import itertools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.decode import BeamResult, StopReason, distilled, distinct, ngram_f, sampled_risk_loss
from tests.decode import models as slow
from tests.decode.test_mbr import slow_f
from tests.support import x64

BOS, EOS, V = 0, 1, 4
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)


def every_sequence(limit: int):
    """All that end within `limit` tokens and all that are cut there: a distribution."""
    going = [t for t in range(V) if t != EOS]
    ended = [(*p, EOS) for n in range(limit) for p in itertools.product(going, repeat=n)]
    rows = [*ended, *itertools.product(going, repeat=limit)]
    lengths = np.array(list(map(len, rows)))
    tokens = np.full((len(rows), limit), EOS)
    for row, labels in zip(tokens, rows, strict=True):
        row[: len(labels)] = labels
    return tokens, lengths


def log_probs_of(model, tokens, lengths):
    step = functools.partial(slow.jax_step, model)
    force = functools.partial(rx.score, step, model.state, bos=BOS)
    return jax.vmap(force)(tokens, lengths).log_prob


def same_trees(got, wanted):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        close(a, b)
        assert np.abs(b).max() > 1e-4


TOKENS, LENGTHS = every_sequence(3)
RISKS = np.random.default_rng(0).random(len(TOKENS))


@x64()
def test_minimum_risk_over_every_sequence_is_the_expected_risk():
    model = slow.one(slow.random_models(1, 1, V), 0)

    def expected(model):
        return (jnp.exp(log_probs_of(model, TOKENS, LENGTHS)) * RISKS).sum()

    def loss(model):
        return rx.minimum_risk_loss(log_probs_of(model, TOKENS, LENGTHS), RISKS, sharpness=1.0)

    close(jnp.exp(log_probs_of(model, TOKENS, LENGTHS)).sum(), 1)
    got, wanted = jax.jit(lambda m: (jax.value_and_grad(loss)(m), jax.value_and_grad(expected)(m)))(
        model
    )
    close(got[0], wanted[0])
    same_trees(got[1], wanted[1])


@x64()
def test_minimum_risk_over_some_is_the_papers_formula():
    """Against finite differences of NumPy's own formula; what is not valid has no part in it."""
    rng = np.random.default_rng(2)
    for valid in ([True] * 5, [True, False, True, True, False], [False, True] + [False] * 3):
        log_probs, risks, alpha = rng.normal(size=5) * 9, rng.random(5), 0.3
        spoiled = np.where(valid, log_probs, rng.choice([np.nan, -np.inf], 5))

        def formula(x, risks=risks, valid=valid, alpha=alpha):
            q = np.exp(alpha * x[valid])
            return (q * risks[valid]).sum() / q.sum()

        value, slope = jax.value_and_grad(rx.minimum_risk_loss)(
            spoiled, np.where(valid, risks, np.nan), sharpness=alpha, valid=np.array(valid)
        )
        close(value, formula(log_probs))
        steps = 1e-6 * np.eye(5)
        wanted = [(formula(log_probs + h) - formula(log_probs - h)) / 2e-6 for h in steps]
        np.testing.assert_allclose(slope, wanted, atol=1e-8)


@pytest.mark.parametrize("loss", [rx.minimum_risk_loss, sampled_risk_loss])
def test_no_candidate_is_no_loss(loss):
    value, slope = jax.value_and_grad(loss)(jnp.full(3, -jnp.inf), jnp.ones(3))
    assert value == 0
    assert not slope.any()


@pytest.mark.parametrize("loss", [rx.minimum_risk_loss, sampled_risk_loss])
def test_nan_is_a_candidate_like_any_other(loss):
    assert np.isnan(loss(jnp.array([jnp.nan, -1.0]), jnp.ones(2)))


@pytest.mark.parametrize("number", [1, 2, 3])
@x64()
def test_the_gradient_of_samples_is_unbiased(number):
    """Exactly: the expectation over every tuple of samples, not an average over many."""
    tokens, lengths = every_sequence(2)
    risks = jnp.asarray(RISKS[: len(tokens)])
    model = slow.one(slow.random_models(3, 1, V), 0)
    tuples = np.array(list(itertools.product(range(len(tokens)), repeat=number)))

    def estimate(model, chosen):
        return sampled_risk_loss(log_probs_of(model, tokens, lengths)[chosen], risks[chosen])

    def expected(model):
        return (jnp.exp(log_probs_of(model, tokens, lengths)) * risks).sum()

    @jax.jit
    def both(model):
        chances = jnp.exp(log_probs_of(model, tokens, lengths))[tuples].prod(1)
        values, slopes = jax.vmap(jax.value_and_grad(estimate), (None, 0))(model, tuples)
        mean = jax.tree.map(lambda leaf: jnp.tensordot(chances, leaf, 1), (values, slopes))
        return mean, jax.value_and_grad(expected)(model)

    got, wanted = both(jax.tree.map(jnp.asarray, model))
    close(got[0], wanted[0])
    same_trees(got[1], wanted[1])


def test_the_baseline_is_the_other_samples():
    log_probs, risks = jnp.zeros(4), jnp.array([0.0, 1.0, 3.0, 7.0])
    slope = jax.grad(sampled_risk_loss)(log_probs, risks, valid=jnp.array([1, 1, 1, 0], bool))
    np.testing.assert_allclose(slope, np.array([0 - 2, 1 - 1.5, 3 - 0.5, 0]) / 3, rtol=1e-6)


def test_distinct_rows():
    rng = np.random.default_rng(4)
    tokens, lengths = rng.integers(0, 2, (60, 30, 3)), rng.integers(0, 4, (60, 30))
    marked = np.asarray(jax.jit(jax.vmap(distinct))(tokens, lengths))
    for i in range(60):
        seen = [tuple(t[:n].tolist()) for t, n in zip(tokens[i], lengths[i], strict=True)]
        first = [bool(row) and row not in seen[:k] for k, row in enumerate(seen)]
        assert marked[i].tolist() == first


def test_what_a_teacher_writes():
    """The best that ended, or the one among them that is most like the gold one."""
    count = 200
    models = slow.random_models(5, count, V)
    golds = np.random.default_rng(6).integers(2, V, (count, 5))
    gold_lengths = np.random.default_rng(7).integers(1, 6, count)
    golds[::2, 3] = EOS  # a gold target may hold its end token
    gold_lengths[::2] = 4

    def one(model, gold, gold_length):
        step = functools.partial(slow.jax_step, model)
        found = rx.beam_search(step, model.state, bos=BOS, eos=EOS, beam_size=4, max_length=4)
        inner = distilled(found, gold, gold_length, eos=EOS, utility=ngram_f(2))
        return found, distilled(found, eos=EOS), inner

    with x64():
        found, best, inner = jax.tree.map(
            np.asarray, jax.jit(jax.vmap(one))(models, golds, gold_lengths)
        )
    rows = []
    for i in range(count):
        ended = found.stops[i] == StopReason.EOS
        assert best.valid[i] == inner.valid[i] == ended.any()
        if not ended.any():
            continue
        assert best.row[i] == 0
        texts = [t[: n - 1] for t, n in zip(found.tokens[i], found.lengths[i], strict=True)]
        gold = golds[i, : gold_lengths[i] - (i % 2 == 0)]
        scores = [
            slow_f(t.tolist(), gold.tolist(), 2, 1.0) if e else -1
            for t, e in zip(texts, ended, strict=True)
        ]
        assert scores[inner.row[i]] == pytest.approx(max(scores))
        for target in (best, inner):
            np.testing.assert_array_equal(target.tokens[i], found.tokens[i][target.row[i]])
            assert target.length[i] == found.lengths[i][target.row[i]]
        rows.append(inner.row[i])
    assert len(set(rows)) > 2


def test_a_utility_of_nan_is_never_the_best():
    """As `chrf` gives it for a text that it has no room for."""
    found = rx.beam_search(
        lambda s, t: (s, jnp.zeros(3)), 0, bos=BOS, eos=EOS, beam_size=3, max_length=4
    )
    longer = found.lengths[1:].min()
    assert found.lengths[0] < longer

    def of(bad):
        def utility(tokens, length, reference, reference_length):
            return jnp.where(length + 1 >= bad, jnp.nan, 0.5)

        return distilled(found, jnp.array([2]), eos=EOS, utility=utility)

    with pytest.raises(ValueError, match=r"distilled: result must be of one example.*\(2, 3\)"):
        distilled(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), found), eos=EOS)
    some, none = of(longer), of(0)
    assert (int(some.row), bool(some.valid)) == (0, True)
    assert not none.valid


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rx.minimum_risk_loss(jnp.zeros((2, 2)), jnp.zeros(2)),
            ValueError,
            r"minimum_risk_loss: log_probs must have shape \[N\]",
        ),
        (
            lambda: rx.minimum_risk_loss(jnp.zeros(2, int), jnp.zeros(2)),
            TypeError,
            "minimum_risk_loss: log_probs must be floating",
        ),
        (
            lambda: sampled_risk_loss(jnp.zeros(2), jnp.zeros(3)),
            ValueError,
            "sampled_risk_loss: risks must have the shape of log_probs",
        ),
        (
            lambda: sampled_risk_loss(jnp.zeros(2), jnp.zeros(2), valid=jnp.ones(2)),
            TypeError,
            "sampled_risk_loss: valid must be bool",
        ),
        (lambda: distinct(jnp.zeros(2, int), 1), ValueError, "distinct: tokens must have shape"),
        (
            lambda: distilled(cast(BeamResult, None), eos=EOS, utility=ngram_f()),
            ValueError,
            "distilled: gold and utility belong together",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
