"""Layers that normalise: against NumPy, in half precision, and out of the loop."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close
from tests.support import x64

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
XS, SCALE, BIAS = 2 + RNG.normal(size=(5, 6)), RNG.normal(size=6), RNG.normal(size=6)


def layer_norm(x, epsilon):
    x = x - x.mean(axis=-1, keepdims=True)
    return SCALE * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) + BIAS


def rms_norm(x, epsilon):
    return SCALE * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)


NORMS = [
    (rx.layer_norm, rx.LayerNormParams._make([SCALE, BIAS]), layer_norm),
    (rx.rms_norm, rx.RMSNormParams._make([SCALE]), rms_norm),
]
each_norm = pytest.mark.parametrize(("make", "params", "reference"), NORMS)


@x64()
@each_norm
@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_is_its_equation(make, params, reference, epsilon):
    cell = make(epsilon=epsilon)
    fresh = cell.init(KEY, XS[0])
    assert jax.tree.structure(fresh) == jax.tree.structure(params)
    assert_close(fresh, [np.full(6, value) for value in (1.0, 0.0)[: len(params)]])
    state, ys = rx.unroll(cell, params, XS, length=3)
    assert state == ()
    assert_close(ys[:3], reference(XS[:3], epsilon))
    assert not ys[3:].any()
    direction = RNG.normal(size=XS.shape)
    loss = lambda xs: (rx.unroll(cell, params, xs)[1] ** 2).sum()  # noqa: E731
    values = [(reference(XS + s * 1e-5 * direction, epsilon) ** 2).sum() for s in (1, -1)]
    gradient = jax.grad(loss)(XS)
    np.testing.assert_allclose((gradient * direction).sum(), (values[0] - values[1]) / 2e-5, 1e-6)


@each_norm
def test_half_precision_is_rounded_once(make, params, reference):
    """Far from zero bfloat16 has no digits for a variance; float32 inside has them."""
    xs = jnp.bfloat16(256 + 16 * XS)
    low = jax.tree.map(jnp.bfloat16, params)
    _, ys = rx.unroll(make(), low, xs)
    assert ys.dtype == jnp.bfloat16
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), low)
    with x64():
        _, expected = rx.unroll(make(), exact, np.asarray(xs, np.float64))
    np.testing.assert_allclose(np.float64(ys), expected, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("make", [rx.layer_norm, rx.rms_norm])
def test_leaves_the_loop(make):
    """All steps at once, alone and below a recurrence."""
    for cell, loop_has in [(make(), False), (rx.stack(make(), rx.elman(6)), True)]:
        params = cell.init(KEY, jnp.ones(6))
        step = functools.partial(cell.step, params)
        report = rx.scan_report(step, cell.initial_state(params), jnp.float32(XS))
        assert "rsqrt" in report.before
        assert "rsqrt" not in report.loop
        assert bool(report.loop) == loop_has


def test_errors_name_the_argument():
    params = rx.layer_norm().init(KEY, jnp.ones(6))
    step = rx.layer_norm().step
    for call, error, message in [
        (lambda: rx.layer_norm(epsilon=-1), ValueError, "layer_norm: epsilon must be .* >= 0 .*-1"),
        (
            lambda: rx.rms_norm(epsilon="0"),  # pyright: ignore
            TypeError,
            "rms_norm: epsilon must be a number >= 0, got '0'",
        ),
        (lambda: step(params, (), jnp.ones(5)), ValueError, "x has width 5, .* width 6"),
        (lambda: step(params, (), jnp.ones((2, 6))), ValueError, "x must be one step"),
        (lambda: step((), (), jnp.ones(6)), TypeError, "params must be the LayerNormParams"),
        (lambda: step(params, 3, jnp.ones(6)), TypeError, "state must have the structure"),
        (
            lambda: rx.rms_norm().step(params, (), jnp.ones(6)),
            TypeError,
            "params must be the RMSNormParams",
        ),
        (lambda: rx.layer_norm().init(KEY, jnp.ones(0)), ValueError, "D > 0, got shape"),
    ]:
        with pytest.raises(error, match=message):
            call()
