"""Linear recurrences by an associative scan: what blocks of the size that they have come to."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import recurrax as rx
from tests.cells.harness import assert_close
from tests.scan.steps import draw
from tests.support import x64

N, T = 4, 7

by_scan = functools.partial(rx.scan, method="associative")
unrolled = functools.partial(rx.unroll, method="associative")


def test_a_stack_is_solved_layer_after_layer_and_in_one_block_without_a_loop():
    cell = rx.stack(rx.min_gru(3), rx.lru(4, state=2), rx.rg_lru(4))
    xs = draw((T, 2))[0]
    params = cell.init(jax.random.key(0), xs[0])
    run = functools.partial(unrolled, cell, params)
    text = str(jax.make_jaxpr(run)(xs))
    assert "scan[" not in text
    assert "while[" not in text

    def plain(xs):
        return lax.scan(functools.partial(cell.step, params), cell.initial_state(params), xs)

    assert_close(jax.jit(run)(xs), jax.jit(plain)(xs), 1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@x64()
def test_long_sequences(reverse):
    """Blocks of blocks, as they are, the first of which are not full."""
    steps = 16 * 16 + 5
    a, b, h = draw((steps, N), (steps, N), (N,))

    def states(scan, a, b, h):
        return scan(lambda h, ab: (ab[0] * h + ab[1],) * 2, h, (a, b), reverse=reverse)

    def everything(scan):
        value, pullback = jax.vjp(functools.partial(states, scan), jnp.tanh(a), b, h)
        return value, pullback(value)

    assert_close(jax.jit(everything, static_argnums=0)(by_scan), everything(lax.scan))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_summed_in_float32(dtype):
    """A decay of 0.999 is 1 in bfloat16, and so would every product of such decays be."""
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(300, N)), dtype)

    def step(h, x):
        h = (0.999 * h.astype(jnp.float32) + x).astype(h.dtype)
        return h, h

    _, ys = jax.jit(functools.partial(by_scan, step))(jnp.zeros(N, dtype), xs)
    assert ys.dtype == dtype
    h, exact = np.zeros(N), []
    for x in np.asarray(xs, np.float64):
        h = 0.999 * h + x
        exact.append(h)
    unit = float(jnp.finfo(dtype).eps) / 2
    np.testing.assert_allclose(np.asarray(ys, np.float32), exact, rtol=1.01 * unit, atol=1e-4)


def test_the_backward_pass_keeps_two_stacks():
    """A and s: not the products of all rounds of the scan."""
    steps, width = 64, 8
    a, b, h = draw((steps, width), (steps, width), (width,))

    def run(a, b, h):
        return by_scan(lambda h, ab: (ab[0] * h + ab[1],) * 2, h, (a, b))[1]

    pullback = jax.eval_shape(lambda *args: jax.vjp(run, *args)[1], a, b, h)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert kept
    assert sum(leaf.size for leaf in kept) <= 2.2 * (steps + 1) * width


@pytest.mark.slow
def test_under_shard_map():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    cell = rx.min_gru(3)
    xs = jax.random.normal(jax.random.key(0), (4, 5 * T, 2))
    params = cell.init(jax.random.key(1), xs[0, 0])

    def run(method, xs):
        local = jax.vmap(lambda xs: unroll(method, xs)[1])
        return jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P("data"))(xs)

    def unroll(method, xs):
        return rx.unroll(cell, params, xs, state=0 * xs[0, :1] + jnp.ones(3), method=method)

    np.testing.assert_allclose(run("associative", xs), run(None, xs), rtol=1e-5, atol=1e-6)
