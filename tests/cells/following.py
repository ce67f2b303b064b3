"""A cell against a NumPy loop over its equations, from its initial state on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from tests.support import x64


def noisy(cell, x, seed=0):
    """Params that `init` makes for `x`, and noise on every leaf; what is None stays None."""
    params = cell.init(jax.random.key(seed), x)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.asarray(leaf) + rng.normal(size=leaf.shape) / 3, params)


def assert_follows(cell, reference, shape, steps=4):
    """Outputs and last state are the NumPy loop's, from the initial state on."""
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(steps, *shape))
    with x64():
        params = noisy(cell, jnp.asarray(xs[0]))
        state = jax.tree.map(np.asarray, cell.initial_state(params))
        end, ys = rx.unroll(cell, params, jnp.asarray(xs))
    for x, y in zip(xs, ys, strict=True):
        state, expected = reference(params, state, x)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)
    for got, expected in zip(jax.tree.leaves(end), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
