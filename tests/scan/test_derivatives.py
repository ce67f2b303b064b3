"""Values and derivatives agree with `jax.lax.scan`, and the compiled loops hold what they must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.scan import steps
from tests.scan.agreement import assert_agrees, loop_products
from tests.support import x64


@pytest.mark.parametrize("name", list(steps.cases()))
@x64()
def test_cells_agree_in_every_derivative(name):
    step, params, state = steps.make(name)
    assert_agrees(step, (params, state, *steps.draw((steps.T, steps.D), seed=2)), tolerance=1e-11)


@x64()
def test_attention_decoder_agrees():
    step, params, state = steps.make_attention()
    assert_agrees(step, (params, state, *steps.draw((steps.T, steps.D), seed=2)), tolerance=1e-11)


def test_branches_of_a_batch_that_take_different_ways():
    """JAX puts a stop_gradient on the tangents there; one branch has no finite derivative at 0."""

    def step(w, h, x):
        h = jax.lax.cond(x[0] > 0, lambda: jnp.sqrt(x) + h @ w, lambda: jnp.cos(h) + x)
        return h, h

    w, h = steps.draw((3, 3), (3,))
    xs = jnp.asarray([[1.0, 2, 3], [0, 0, 0], [0.5, 0.1, 0.2]])
    batch = jnp.stack([xs, jnp.flip(xs, 1), jnp.zeros_like(xs)])

    def loss(scan, w, batch):
        return jax.vmap(lambda xs: scan(lambda h, x: step(w, h, x), h, xs)[1].sum())(batch).sum()

    ours, theirs = (jax.grad(loss, (1, 2))(scan, w, batch) for scan in (rx.scan, jax.lax.scan))
    assert all(np.isfinite(gradient).all() for gradient in theirs)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2])
@x64()
def test_reverse_and_unroll(reverse, unroll):
    step, params, state = steps.make("naive")
    args = (params, state, *steps.draw((steps.T, steps.D), seed=2))
    assert_agrees(step, args, order=1, reverse=reverse, unroll=unroll)


@pytest.mark.parametrize("name", list(steps.cases()))
def test_products_in_compiled_loops(name):
    d, h, batch, t = 16, 24, 8, 6
    step, params, state = steps.make(name, d, h)
    *_, forward, backward = steps.cases()[name]
    (xs,) = steps.draw((batch, t, d), seed=2)

    def loss(params, xs):
        def one(x):
            return rx.scan(lambda s, x: step(params, s, x), state, x)[1]

        return jnp.sum(jax.vmap(one)(xs) ** 2)

    assert loop_products(loss, params, xs) == [forward]
    assert loop_products(jax.grad(loss), params, xs) == [forward, backward]


def test_long_sums_in_bfloat16_are_as_exact_as_one_rounding():
    t, h = 2048, 4
    w, b = (a.astype(jnp.bfloat16) for a in steps.draw((h, h), (h,)))
    (xs,) = (a.astype(jnp.bfloat16) for a in steps.draw((t, h), seed=2))

    def loss(w, b, xs, dtype):
        w, b, xs = (a.astype(dtype) for a in (w, b, xs))
        h0 = jnp.zeros(h, dtype)

        def step(s, x):
            s = jnp.tanh(0.1 * (s @ w) + b) * 0.1 + x
            return s, s

        return jnp.sum(rx.scan(step, h0, xs)[1].astype(jnp.float32))

    low = jax.jit(jax.grad(loss, (0, 1)), static_argnums=3)(w, b, xs, jnp.bfloat16)
    high = jax.jit(jax.grad(loss, (0, 1)), static_argnums=3)(w, b, xs, jnp.float32)
    for a, c in zip(low, high, strict=True):
        a, c = np.asarray(a, np.float32), np.asarray(c, np.float32)
        assert np.abs(a - c).max() < 0.02 * np.abs(c).max()
