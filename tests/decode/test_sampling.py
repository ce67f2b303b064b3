"""Samples against exact probabilities, at a stated confidence."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow

BOS, EOS = 0, 1


def float32(model: slow.Model) -> slow.Model:
    return slow.Model(*(np.asarray(leaf, np.float32) for leaf in model))


@functools.partial(jax.jit, static_argnames="max_length")
def draw(model, keys, options, max_length):
    step = functools.partial(slow.jax_step, model)
    one = functools.partial(rx.sample, step, model.state, bos=BOS, eos=EOS, max_length=max_length)
    return jax.vmap(lambda key: one(key=key, **options))(keys)


def test_frequencies_are_the_probabilities():
    """A chi-square test over all sequences, at five sigma: false alarm in a million."""
    count, limit = 20000, 3
    model = float32(slow.one(slow.random_models(30, 1, 4, sharpness=0.7), 0))
    result = draw(model, jax.random.split(jax.random.key(0), count), {}, limit)
    finished, cut = slow.enumerate_all(model, BOS, EOS, limit, 0, 0.0)
    expected = {tuple(map(int, r.tokens)): count * math.exp(r.log_prob) for r in finished + cut}
    found = dict.fromkeys(expected, 0)
    tokens, lengths = np.asarray(result.tokens[:, 0]), np.asarray(result.lengths[:, 0])
    for row, length in zip(tokens, lengths, strict=True):
        found[tuple(row[:length].tolist())] += 1
    large = [s for s in expected if expected[s] >= 5]
    rest = [sum(table[s] for s in table if s not in large) for table in (found, expected)]
    pairs = [(found[s], expected[s]) for s in large] + [(rest[0], rest[1] + 1e-9)]
    statistic = sum((f - e) ** 2 / e for f, e in pairs if e > 5 or f > 0)
    freedom = len(large)
    assert freedom > 20
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_what_is_reported_is_what_forced_decoding_gives():
    model = float32(slow.one(slow.random_models(31, 1, 6, sharpness=0.5), 0))
    keys = jax.random.split(jax.random.key(1), 50)
    options = {"min_length": 3, "length_limit": 5, "length_penalty": 0.6}
    result = draw(model, keys, options, 8)
    assert (result.lengths >= 3).all()
    assert (result.lengths <= 5).all()
    assert set(np.unique(result.stops)) == {rx.StopReason.EOS, rx.StopReason.CUT}
    step = functools.partial(slow.jax_step, model)
    force = functools.partial(rx.score, step, model.state, bos=BOS, length_penalty=0.6)
    again = jax.jit(jax.vmap(force))(result.tokens[:, 0], result.lengths[:, 0])
    for name in ("token_log_probs", "attention"):
        np.testing.assert_allclose(
            getattr(result, name)[:, 0], getattr(again, name), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(result.scores[:, 0], again.score, rtol=1e-4)
    np.testing.assert_allclose(result.log_probs[:, 0], again.log_prob, rtol=1e-4)
    alone = draw(model, keys[7:8], options, 8)
    np.testing.assert_array_equal(alone.tokens[0], result.tokens[7])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_is_drawn_from_what_is_no_distribution(bad):
    def step(state, token):
        return state, jnp.where(token == 2, jnp.full(3, bad), jnp.array([-jnp.inf, -jnp.inf, 0]))

    run = functools.partial(rx.sample, step, 0, bos=0, eos=1, max_length=4)
    result = jax.jit(lambda key: run(key=key))(jax.random.key(0))
    assert result.stops.tolist() == [rx.StopReason.EMPTY]
    assert result.lengths.tolist() == [0]
    assert result.scores.tolist() == [-np.inf]
    assert bool(result.invalid) == (bad != -np.inf)


@pytest.mark.parametrize("bad", [0, None, jax.random.split(jax.random.key(0), 3)])
def test_what_is_not_one_key(bad):
    step = lambda state, token: (state, jnp.zeros(3))  # noqa: E731
    with pytest.raises(TypeError, match=r"sample: key must be one jax\.random\.key, got "):
        rx.sample(step, 0, key=bad, bos=0, eos=1, max_length=2)
