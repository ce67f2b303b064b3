"""What the tests of online learners share: a cell, params and a sequence, in float64."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from recurrax.core import as_cell
from tests.scan.agreement import QUICK

T = 6
# Compiled once and run once: most of the time would go into LLVM.
jit = functools.partial(jax.jit, compiler_options=QUICK)


class Sequence(NamedTuple):
    """`weights` [T, ...] make the loss of each step another function of its output."""

    cell: Any
    params: Any
    xs: np.ndarray
    weights: np.ndarray


def sequence(make: Any, width: int, steps: int = T) -> Sequence:
    """Random numbers on every leaf of the params: zeros, as fresh biases, would hide a mistake."""
    cell, rng = as_cell(make()), np.random.default_rng(0)
    params = jax.eval_shape(cell.init, jax.random.key(0), jnp.zeros(width))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / 2, params)
    xs = rng.normal(size=(steps, width))
    y = jax.eval_shape(lambda p: cell.step(p, cell.initial_state(p), xs[0])[1], params)
    return Sequence(cell, params, xs, rng.normal(size=(steps, *y.shape)))


def loss(y, weights):
    return jnp.sum(jnp.sin(weights * y))


def by_backpropagation(seq: Sequence, params: Any, state: Any = None, key: Any = None):
    """The value and gradient of the summed loss, by one `jax.grad` through all steps."""

    def total(params):
        _, ys = rx.unroll(seq.cell, params, seq.xs, state=state, key=key)
        return loss(ys, seq.weights)

    return jax.value_and_grad(total)(params)


def assert_close(got, expected, tolerance=1e-11) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path)
        )


def count(tree: Any) -> int:
    """How many numbers are in a tree."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def kept(learner: Any, seq: Sequence) -> int:
    """How many numbers of the influence a learner keeps; nothing is computed."""
    return count(jax.eval_shape(learner.init, seq.params, seq.xs[0]).influence)
