"""Mixed precision: products of bfloat16 roundings, everything else in float32."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrax as rx
from tests.scan.agreement import total
from tests.scan.steps import D, T, draw, make

POLICY = "BF16_BF16_F32"


def args_of(name):
    step, params, init = make(name)
    return step, (params, init, draw((T, D), seed=2)[0])


@jax.custom_vjp
def rounded(a, w):
    """a w of roundings, as the policy defines it; on CPU w's gradient is not rounded."""
    return _product(a, w)


def _product(a, w):
    return jnp.dot(*(x.astype(jnp.bfloat16).astype(jnp.float32) for x in (a, w)))


rounded.defvjp(
    lambda a, w: (_product(a, w), (a, w)),
    lambda kept, ct: (_product(ct, kept[1].T), jnp.outer(kept[0], ct)),
)


def lstm(dot, params, state, x):
    w, u, b = params
    c, h = state
    i, f, g, o = jnp.split(dot(x, w) + dot(h, u) + b, 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def test_products_are_of_roundings_and_all_else_is_not():
    _, (params, init, xs) = args_of("lstm")

    def plain(params, init, xs):
        return total(lax.scan(functools.partial(lstm, rounded, params), init, xs))

    def policy(params, init, xs):
        return total(rx.scan(functools.partial(lstm, jnp.dot, params), init, xs, precision=POLICY))

    def float32(params, init, xs):
        return total(lax.scan(functools.partial(lstm, jnp.dot, params), init, xs))

    def both(f):
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, init, xs)

    want, got, other = both(plain), both(policy), both(float32)
    # Sums in another order may turn a rounding of a later step: 2^-8 of one summand of it. That is
    # rare, and far from what no rounding at all makes.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4), got, want)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))
    apart = max(abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (want, other)), strict=True))
    assert apart > 1e-3


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_after", "peephole"])
def test_every_product_of_the_loops_is_of_bfloat16(name):
    step, args = args_of(name)

    def loss(params, init, xs):
        return total(rx.scan(functools.partial(step, params), init, xs, precision=POLICY))

    batched = jax.vmap(loss, (None, 0, 0))
    rows = jax.tree.map(lambda x: jnp.stack([x, x]), args[1:])
    text = (
        jax.jit(jax.grad(lambda *a: batched(*a).sum(), (0, 1, 2))).lower(args[0], *rows).as_text()
    )
    loops = text.split("stablehlo.while")[1:]
    assert len(loops) == 2
    products = re.findall(r"stablehlo.dot_general.*: \((\S+), (\S+)\) -> (\S+)", text)
    rounded_products = [p for p in products if "bf16" in p[0] and "bf16" in p[1]]
    assert all(p[2].endswith("xf32>") for p in rounded_products)
    # x W and its gradient, h U and its gradient: all but the contractions over time.
    assert len(rounded_products) == 4


def test_a_product_that_names_no_result_type_keeps_float32():
    u = draw((D, D))[0]

    def step(h, x):
        h = jnp.tanh(lax.dot(h[None], u)[0] + x)
        return h, lax.dot(x[None], u)[0]

    xs = draw((T, D), seed=2)[0]
    state, ys = rx.scan(step, jnp.zeros(D), xs, precision=POLICY)
    assert state.dtype == ys.dtype == jnp.float32
    np.testing.assert_allclose(ys, _product(xs, u), rtol=1e-5, atol=1e-6)


def test_axes_of_size_zero():
    xs = jnp.ones((T, 0))

    def run(scan, w):
        return scan(lambda h, x: (jnp.tanh(x @ w + h), h), jnp.zeros(3), xs)

    got, want = run(rx.scan, jnp.ones((0, 3))), run(lax.scan, jnp.ones((0, 3)))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert jax.grad(lambda w: total(run(rx.scan, w)))(jnp.ones((0, 3))).shape == (0, 3)
    assert jax.grad(lambda w: rx.matmul(xs, w).sum())(jnp.ones((0, 3))).shape == (0, 3)


def test_an_explicit_mesh():
    """Where arrays lie is then part of their type, and JAX's own products know their gradients'."""
    kind = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    plain = draw((D, D), (4, T, D))
    placed = [
        jax.device_put(a, jax.NamedSharding(mesh, spec))
        for a, spec in zip(plain, (jax.P(), jax.P("data")), strict=True)
    ]

    def loss(w, xs):
        def one(xs):
            return rx.scan(lambda h, x: (jnp.tanh(h @ w + x @ w), h), 0 * xs[0], xs)[0]

        return jnp.sum(jax.vmap(one)(xs) ** 2) + jnp.sin(rx.matmul(xs, w)).sum()

    got, want = (jax.jit(jax.grad(loss))(*args) for args in (placed, plain))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_those_of_the_function():
    _, (params, init, xs) = args_of("lstm")

    def grad(precision):
        def loss(params):
            step = functools.partial(lstm, jnp.dot, params)
            return total(rx.scan(step, init, xs, precision=precision))

        return jax.jit(lambda p: jax.jvp(jax.grad(loss), (p,), (p,))[1])(params)

    got, want = grad(POLICY), grad(None)
    # 2^-8 a product, and a few products deep.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0.1, atol=0.05), got, want)
    apart = max(abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True))
    assert apart > 1e-4  # the policy is in them too


def test_the_context_of_jax_is_the_same_policy():
    _, (params, init, xs) = args_of("lstm")
    step = functools.partial(lstm, jnp.dot, params)
    with jax.default_matmul_precision(POLICY):
        inside = rx.scan(step, init, xs)
    argument = rx.scan(step, init, xs, precision=POLICY)
    jax.tree.map(np.testing.assert_array_equal, inside, argument)
    cell = rx.lstm(4)
    weights = cell.init(jax.random.key(0), xs[0])
    _, ys = rx.unroll(cell, weights, xs, precision=POLICY)
    _, plain = rx.unroll(cell, weights, xs)
    assert 0 < abs(ys - plain).max() < 0.02


def test_matmul():
    keys = jax.random.split(jax.random.key(0))
    x, w = jax.random.normal(keys[0], (2, 5, 3)), jax.random.normal(keys[1], (3, 4))
    np.testing.assert_allclose(rx.matmul(x, w), x @ w, rtol=1e-6)
    np.testing.assert_allclose(
        rx.matmul(x, w, precision=POLICY), _product(x, w), rtol=1e-6, atol=1e-6
    )
    gradient = jax.grad(lambda w: jnp.sin(jax.vmap(lambda x: rx.matmul(x, w))(x)).sum())(w)
    want = jax.grad(lambda w: jnp.sin(x @ w).sum())(w)
    np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-6)
    for bad in (jnp.ones((4, 3)), jnp.ones(3), jnp.ones((3, 4, 1))):
        with pytest.raises(ValueError, match=r"expected x \[\.\.\., K\] and w \[K, N\]"):
            rx.matmul(x, bad)


def test_an_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="brain"):
        rx.scan(lambda c, x: (c, x), 0.0, jnp.ones(3), precision="brain")
    with pytest.raises(ValueError, match="brain"):
        rx.matmul(jnp.ones((1, 1)), jnp.ones((1, 1)), precision="brain")
