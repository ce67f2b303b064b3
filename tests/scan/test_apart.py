"""Large slices are copied before they are read; it changes where time goes, and nothing else."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import recurrax as rx

T, B, H = 6, 16, 256
SMALL = 8  # features of one example, of which all slices are small


def gated(scan):
    """Two gates of an input and a state; large enough to be worth a copy with `B` examples."""

    def apply(w, xs):
        def step(h, x):
            z = jax.nn.sigmoid(x + h @ w)
            return z * h + (1 - z) * jnp.tanh(x), h

        return scan(step, jnp.zeros_like(xs[0]), xs)

    return jax.vmap(apply, in_axes=(None, 0))


@pytest.fixture(scope="module")
def inputs():
    w, xs = (
        jax.random.normal(key, s)
        for key, s in zip(jax.random.split(jax.random.key(0)), [(H, H), (B, T, H)], strict=True)
    )
    return w / 16, xs


def branches(function, *inputs):
    text = jax.jit(function).lower(*inputs).compile().as_text() or ""
    return text.count(" conditional(")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only XLA's CPU compiler needs it")
def test_only_large_slices_of_a_loop_that_stores_nothing_are_copied(inputs):
    w, xs = inputs
    forward = gated(rx.scan)
    assert branches(forward, w, xs) == 1
    assert branches(forward, w[:SMALL, :SMALL], xs[:1, :, :SMALL]) == 0
    assert branches(jax.grad(lambda w, xs: forward(w, xs)[0].sum()), w, xs) == 0
    assert branches(gated(jax.lax.scan), w, xs) == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only XLA's CPU compiler needs it")
def test_a_sharded_batch_is_not_spoken_of_between_the_devices(inputs):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    w, xs = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(inputs, (P(), P("data")), strict=True)
    )
    text = jax.jit(gated(rx.scan)).lower(w, xs).compile().as_text() or ""
    assert text.count(" conditional(") == 1
    assert not re.findall(r"all-reduce|all-gather|collective", text)


def test_every_derivative_is_that_of_lax_scan(inputs):
    w, xs = inputs

    def values(scan):
        apply = gated(scan)

        def loss(w, xs):
            return jnp.sum(apply(w, xs)[0] ** 2)

        def directional(w, xs):
            return jax.jvp(loss, (w, xs), (w, xs))[1]

        @jax.jit
        def all_of_them(w, xs):
            return apply(w, xs), jax.grad(loss, (0, 1))(w, xs), jax.grad(directional, 1)(w, xs)

        return all_of_them(w, xs)

    found, expected = values(rx.scan), values(jax.lax.scan)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


def test_a_nan_stays_where_it_is(inputs):
    w, xs = inputs
    broken = xs.at[0, 0, 0].set(jnp.nan)
    forward = jax.jit(gated(rx.scan))
    (last, hs), (last_found, hs_found) = forward(w, xs), forward(w, broken)
    assert np.isnan(last_found[0]).all()
    np.testing.assert_array_equal(hs_found[1:], hs[1:])
    np.testing.assert_array_equal(last_found[1:], last[1:])
