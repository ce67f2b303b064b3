"""Forced decoding, against the search and against NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.support import x64

BOS, EOS = 0, 1


def test_the_search_reports_the_score_of_forced_decoding():
    count = 300
    models = slow.random_models(9, count, 6)
    alphas = np.random.default_rng(10).choice((-0.6, 0.0, 1.0), count)

    def one(model, alpha):
        step = functools.partial(slow.jax_step, model)
        options = {"bos": BOS, "length_penalty": alpha}
        found = rx.beam_search(step, model.state, eos=EOS, beam_size=4, max_length=7, **options)
        again = jax.vmap(lambda t, n: rx.score(step, model.state, t, n, **options))
        return found, again(found.tokens, found.lengths)

    with x64():
        found, again = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, alphas))
    assert (found.stops != rx.StopReason.EMPTY).all()
    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(found.scores, again.score)
    close(found.log_probs, again.log_prob)
    close(found.token_log_probs, again.token_log_probs)
    close(found.attention, again.attention)


def test_a_given_sequence_against_numpy():
    model = slow.one(slow.random_models(11, 1, 5), 0)
    step = functools.partial(slow.jax_step, model)
    tokens = np.array([2, 0, 4, 1, 3])
    with x64():
        log_probs, states = slow.forced(model, BOS, tokens[None], np.array([3]))
        result = rx.score(step, model.state, tokens, 3, bos=BOS, length_penalty=0.6)
        np.testing.assert_allclose(result.token_log_probs, log_probs[0], rtol=1e-12)
        np.testing.assert_allclose(result.attention, states[0], rtol=1e-12)
        np.testing.assert_allclose(result.log_prob, log_probs.sum(), rtol=1e-12)
        expected = slow.gnmt_score(log_probs.sum(), 3, 0.6)
        np.testing.assert_allclose(result.score, expected, rtol=1e-12)
        whole = rx.score(step, model.state, tokens, bos=BOS)
        assert whole.log_prob < result.log_prob


def test_padding_is_not_looked_at_and_a_strange_token_is_nan():
    model = slow.Model(*(x[0].astype(np.float32) for x in slow.random_models(11, 1, 5)))
    step = functools.partial(slow.jax_step, model)
    score = functools.partial(rx.score, step, jnp.asarray(model.state), bos=BOS)
    clean = score(jnp.array([2, 3, 0, 0]), 2)
    dirty = score(jnp.array([2, 3, 99, -5]), 2)
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert np.isnan(score(jnp.array([2, 5, 0]), 3).log_prob)
    assert np.isnan(score(jnp.array([2, -1, 0]), 3).log_prob)
    assert score(jnp.array([2, 3]), 0, length_penalty=1.0).score == 0


def test_large_logits():
    """Neither overflow nor a log-probability above zero, which the bounds of a search rest on."""
    logits = jnp.array([1e4, 1e4 - 1, -1e30])
    result = rx.score(lambda s, t: (s, logits), 0, jnp.array([0, 1]), bos=BOS)
    np.testing.assert_allclose(result.token_log_probs, [-0.3133, -1.3133], atol=1e-3)
    rng = np.random.default_rng(13)
    drawn = jnp.asarray(rng.normal(size=(500, 40)) * rng.uniform(0, 40, (500, 1)), jnp.float32)
    assert (jax.vmap(rx.log_probs)(drawn) <= 0).all()


def test_what_is_forbidden_has_probability_zero():
    """Not NaN, although nothing may follow on a forbidden token either."""
    only = rx.following(rx.one_of([[2, 3]]), eos=1)
    step, state = rx.processed(lambda s, t: (s, jnp.zeros(5)), 0, only)
    score = functools.partial(rx.score, step, state, bos=BOS)
    assert score(jnp.array([2, 3, 1])).log_prob == 0
    result = score(jnp.array([3, 2, 1]), length_penalty=1.0)
    assert result.token_log_probs.tolist() == [-np.inf] * 3
    assert result.score == result.log_prob == -np.inf


def test_it_has_a_gradient():
    model = slow.Model(*(x[0].astype(np.float32) for x in slow.random_models(12, 1, 5)))

    def loss(writes, length):
        step = functools.partial(slow.jax_step, model._replace(writes=writes))
        return rx.score(step, model.state, jnp.array([2, 3, 1, 4]), length, bos=BOS).log_prob

    gradient = jax.grad(loss)(jnp.asarray(model.writes), 3)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    direction = np.random.default_rng(0).normal(size=gradient.shape).astype(np.float32)
    numeric = (
        loss(model.writes + 1e-2 * direction, 3) - loss(model.writes - 1e-2 * direction, 3)
    ) / 2e-2
    np.testing.assert_allclose(np.vdot(gradient, direction), numeric, rtol=1e-2)


@pytest.mark.parametrize(
    ("tokens", "length", "error", "message"),
    [
        (np.zeros((2, 3), int), None, ValueError, r"tokens must have shape \[T\].*\(2, 3\)"),
        (np.zeros(3), None, TypeError, "tokens must be integers, got float"),
        (np.zeros(3, int), 4, ValueError, r"length must be in \[0, 3\], got 4"),
        (np.zeros(3, int), 1.5, TypeError, "length must be an integer"),
    ],
)
def test_errors(tokens, length, error, message):
    step = slow.table_step(np.full((3, 3, 3), 1 / 3))
    with pytest.raises(error, match=f"score: {message}"):
        rx.score(step, 0, tokens, length, bos=0)
