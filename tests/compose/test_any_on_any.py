"""Any combinator on any cell: under jit and grad, with a length, packed, with and without a key."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close, random_like
from tests.cells.registry import REGISTRY
from tests.compose.combinators import ALIGNED, POOLED, shaped
from tests.support import x64

pytestmark = pytest.mark.slow  # minutes of compiling: `pytest -m slow`

T, LENGTH = 3, 2
KEY = jax.random.key(0)


@functools.cache
def inputs(width):
    return np.random.default_rng(1).normal(size=(T, *np.atleast_1d(width)))


def arguments(model, x):
    """Random params in float64: zeros, such as fresh biases, would hide a mistake."""
    params = model.init(KEY, x)
    return jax.tree.map(jnp.add, params, random_like(np.random.default_rng(0), params, 0.2))


def number(tree):
    """One number out of all floating leaves, each element counted on its own."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum((jnp.abs(leaf + 1) ** 2).sum() for leaf in leaves)


def pairs(kinds):
    """Each cell under each combinator."""
    return [
        pytest.param(entry, kind, id=f"{entry.name}-{kind}") for entry in REGISTRY for kind in kinds
    ]


@x64()
@pytest.mark.parametrize(("entry", "kind"), pairs([*ALIGNED, *POOLED]))
def test_any_combinator_on_any_cell(entry, kind):
    xs = inputs(entry.width)
    model = (ALIGNED | POOLED)[kind](entry.make(), xs[0])
    params = arguments(model, xs)
    padded = np.where(np.arange(T).reshape(T, *[1] * (xs.ndim - 1)) < LENGTH, xs, np.nan)

    def run(params, xs, length=None, resets=None, key=None):
        return model.apply(params, xs, length=length, resets=resets, key=key)

    def truncated(params, xs, length=None):
        state, ys = run(params, xs, length, key=KEY)
        ys, rest = (ys[:LENGTH], ys[LENGTH:]) if kind in ALIGNED else (ys, ())
        return number((state, ys)), (state, ys, rest)

    def everything(params, padded, xs):
        grad = jax.value_and_grad(truncated, has_aux=True, allow_int=True)
        masked, alone = grad(params, padded, LENGTH), grad(params, xs[:LENGTH])
        if kind in POOLED:
            return masked, alone, (), ()
        packed = run(params, xs, resets=jnp.arange(T) == LENGTH)[1]
        parts = [run(params, part)[1] for part in (xs[:LENGTH], xs[LENGTH:])]
        return masked, alone, packed, jnp.concatenate(parts)

    masked, alone, packed, parts = jax.jit(everything)(params, padded, xs)
    ((value, (*results, rest)), gradient), ((expected, (*truth, _)), true_gradient) = masked, alone
    assert_close((value, results, gradient), (expected, truth, true_gradient), 1e-11)
    assert not np.any(rest), "outputs past the length are zero"
    assert_close(packed, parts, 1e-11)
    assert "random" not in str(jax.make_jaxpr(run)(params, xs)), "without a key, no noise"


@x64()
@pytest.mark.parametrize(("entry", "kind"), pairs(["autoregressive"]))
def test_a_vector_drives_any_cell(entry, kind):
    """The outputs fed back by a loop in Python; steps past a length are no steps."""
    x = inputs(entry.width)[0]
    cell = rx.stack(entry.make(), shaped(x.shape))
    params = arguments(cell, x)

    def looped(params, x):
        state, ys = cell.initial_state(params), []
        for _ in range(LENGTH):
            state, x = cell.step(params, state, x)
            ys.append(x)
        return number((state, jnp.stack(ys))), (state, jnp.stack(ys))

    def driven(params, x):
        state, ys = rx.autoregressive(cell, T).apply(params, x, length=LENGTH)
        return number((state, ys[:LENGTH])), (state, ys[:LENGTH])

    def grad(f):
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True, allow_int=True))

    assert_close(grad(driven)(params, x), grad(looped)(params, x), 1e-11)
