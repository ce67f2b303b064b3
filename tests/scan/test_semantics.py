"""`rx.scan` is `jax.lax.scan` in its results, types and errors, whatever the step holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import recurrax as rx
from tests.scan.steps import draw

W, H0, XS = (a for a in (*draw((4, 4), (4,)), *draw((6, 4), seed=1)))
KEYS = jax.random.split(jax.random.key(0), 6)


def cell(h, x):
    h = jnp.tanh(x @ W + h @ W)
    return h, {"y": h, "nothing": None}


def _branch(h, x):
    return lax.cond(h.sum() > 0, lambda h: h @ W, lambda h: jnp.sin(h) + x, h), h > 0


def _while(h, x):
    loop = lax.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, jnp.tanh(v[1] @ W + x)), (0, h))
    return loop[1], loop[0]


def _nested(h, x):
    return rx.scan(lambda a, _: (jnp.tanh(a @ W + x), a), h, None, 3)[0], h.sum()


def _mixed(state, x):
    i, total, h = state
    return (i + 1, total * 0.5 + x.sum(), h), (i, 1.0, W, x, jax.lax.convert_element_type(h, int))


CASES = {
    "basic": (cell, H0, XS, {}),
    "reverse": (cell, H0, XS, {"reverse": True}),
    "unrolled": (cell, H0, XS, {"unroll": 4}),
    "fully unrolled": (cell, H0, XS, {"unroll": True}),
    "no steps": (cell, H0, XS[:0], {}),
    "one step": (cell, H0, XS[:1], {}),
    "no xs": (lambda h, _: (h @ W, h.sum()), H0, None, {"length": 5}),
    "weak types": (lambda c, x: (c * 2, c), 1.0, None, {"length": 3}),
    "mixed": (_mixed, (0, 0.0, H0), XS, {}),
    "no carry": (lambda c, x: ((), x @ W), (), XS, {}),
    "all none": (lambda c, x: (None, x), None, XS, {}),
    "keys": (lambda h, k: (h @ W + jax.random.bernoulli(k, 0.5, (4,)), k), H0, KEYS, {}),
    "carried key": (lambda k, x: (jax.random.split(k)[0], jax.random.normal(k)), KEYS[0], XS, {}),
    "branch": (_branch, H0, XS, {}),
    "while": (_while, H0, XS, {}),
    "nested": (_nested, H0, XS, {}),
    "plain": (cell, H0, XS, {"fission": False}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_same_values_and_types(name):
    f, init, xs, extra = CASES[name]
    plain = {k: v for k, v in extra.items() if k != "fission"}
    ours = jax.jit(lambda: rx.scan(f, init, xs, **extra))()
    theirs = jax.jit(lambda: lax.scan(f, init, xs, **plain))()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if jnp.issubdtype(got.dtype, jax.dtypes.prng_key):
            got, want = jax.random.key_data(got), jax.random.key_data(want)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_weak_types_stay_weak():
    carry, ys = rx.scan(lambda c, x: (c * 2, c), 1.0, None, 3)
    plain = lax.scan(lambda c, x: (c * 2, c), 1.0, None, 3)
    weak = [jax.typeof(value).weak_type for value in (carry, ys)]
    assert weak == [jax.typeof(value).weak_type for value in plain]


@pytest.mark.parametrize(
    ("f", "args", "kwargs"),
    [
        (lambda h, x: (h[:1], x), (H0, XS), {}),
        (lambda h, x: h, (H0, XS), {}),
        (cell, (H0, XS), {"length": 3}),
        (cell, (H0,), {}),
        (cell, ("a", XS), {}),
    ],
)
def test_errors_are_those_of_lax_scan(f, args, kwargs):
    with pytest.raises((TypeError, ValueError)) as theirs:
        lax.scan(f, *args, **kwargs)
    with pytest.raises(type(theirs.value)) as ours:
        rx.scan(f, *args, **kwargs)
    assert str(ours.value) == str(theirs.value)


def test_side_effects_happen_once_a_step():
    seen = []

    def step(h, x):
        jax.debug.callback(lambda v: seen.append(float(v)), x[0], ordered=True)
        return h @ W, x

    rx.scan(step, H0, XS)
    jax.effects_barrier()
    np.testing.assert_allclose(seen, XS[:, 0], rtol=1e-6)


def test_python_numbers_in_the_carry_have_derivatives():
    def of_last(scan, w):
        def step(carry, x):
            first, count, half, h = carry
            h = jnp.where(first, x * w, half * jnp.tanh(h * w + x))
            return (~first, count + 1, half, h), h * count

        (*_, h), ys = scan(step, (True, 1, 0.5, w), jnp.arange(3.0))
        return h + ys.sum()

    def along(f):
        return lambda w: jax.jvp(f, (w,), (1.0,))[1]

    for transformed in (jax.grad, jax.jacfwd, along, lambda f: jax.jit(jax.grad(f))):
        got = transformed(lambda w: of_last(rx.scan, w))(0.7)
        np.testing.assert_allclose(got, transformed(lambda w: of_last(lax.scan, w))(0.7), rtol=1e-6)


def test_custom_vjp_in_the_step_is_obeyed():
    @jax.custom_vjp
    def tripled(a):
        return jnp.sin(a)

    tripled.defvjp(lambda a: (tripled(a), a), lambda a, g: (3 * g,))

    def loss(scan, w):
        return scan(lambda h, x: (tripled(h @ w) + x, h), H0, XS)[0].sum()

    @jax.jit
    def both(w):
        return [jax.grad(functools.partial(loss, scan))(w) for scan in (rx.scan, lax.scan)]

    ours, theirs = both(W)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_sharded_gradients_agree():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    h0, xs = draw((4, 4), (4, 6, 4))

    def loss(scan, w, h0, xs):
        def local(w, h0, xs):
            def step(h, x):
                early = (x @ w) * w[0] + w[1]
                return jnp.tanh(early + h @ w), jnp.sin(h) @ w + w[2]

            def one(h, x):
                return scan(step, h, x)[1]

            return lax.psum(jnp.sum(jax.vmap(one)(h0, xs) ** 2), "data")

        specs = (P(), P("data"), P("data"))
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())(w, h0, xs)

    @jax.jit
    def both(*args):
        return [
            jax.grad(lambda *a, s=s: loss(s, *a), (0, 1, 2))(*args) for s in (rx.scan, lax.scan)
        ]

    for got, want in zip(*both(W, h0, xs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_batch_that_jit_shards_is_summed_over_once_and_not_at_every_step():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    cell = rx.lstm(4)
    params = cell.init(jax.random.key(0), jnp.ones(3))
    params = jax.device_put(params, NamedSharding(mesh, P()))
    xs = jax.device_put(jnp.ones((4, 6, 3)), NamedSharding(mesh, P("data")))

    def sums(scan):
        def loss(params, xs):
            def one(xs):
                return scan(functools.partial(cell.step, params), cell.initial_state(params), xs)

            return jnp.sum(jax.vmap(one)(xs)[1] ** 2)

        text = jax.jit(jax.grad(loss)).lower(params, xs).compile().as_text() or ""
        return ["while/body" in line for line in text.splitlines() if " all-reduce(" in line]

    assert sums(rx.scan) == [False]
    assert any(sums(lax.scan))


def test_the_step_is_traced_once():
    traced = []

    def step(h, x):
        traced.append(None)
        return jnp.tanh(x @ W + h @ W), h

    jax.jit(jax.grad(lambda h: rx.scan(step, h, XS)[0].sum()))(H0)
    assert len(traced) == 1
