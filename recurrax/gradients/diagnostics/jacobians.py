"""Jacobians of the state from step to step, and their products over a distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from recurrax.core import Cell, PyTree, as_cell
from recurrax.scan.scan import scan
from recurrax.scan.unroll import unroll


class JacobianProducts(NamedTuple):
    """P_k = J_k ... J_1 = ds_k/ds_0 for k = 1 to T, in a form that neither over- nor underflows.

    Attributes:
      scaled: P_k over its largest entry, [T, N, N], at least float32; zeros where P_k is zero.
      log_scale: the logarithm of that entry, [T].
    """

    scaled: jax.Array
    log_scale: jax.Array

    def log_singular_values(self) -> jax.Array:
        """Natural logarithms of the singular values of ds_k/ds_0, the largest first, [T, N].

        Those that lie further below the largest than rounding reaches (16 in float32, 36 in
        float64) are noise; `lyapunov_spectrum` has them all.
        """
        values = jnp.linalg.svd(self.scaled, compute_uv=False)
        return jnp.log(values) + self.log_scale[:, None]


def state_jacobians(
    cell: Any,
    params: PyTree,
    xs: PyTree,
    *,
    state: PyTree = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """J_t = ds_t/ds_{t-1} of every step, [T, N, N], where the sequence takes the state.

    N counts the numbers in the state's floating leaves, in the order of `jax.tree.leaves`:
    `J[t, i, j]` is the derivative of number i after step t + 1 by number j before it. The steps are
    differentiated all at once; they take T N^2 numbers.

    Args:
      cell: any cell.
      params: what `cell.init` made.
      xs: the inputs, arrays [T, ...].
      state: the state before the first step; `cell.initial_state(params)` by default.
      key: split into one key a step, as in `rx.unroll`.

    Raises:
      TypeError: `cell` is no cell; no leaf of the state is floating, or one is complex.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.irnn(2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> print(rx.state_jacobians(cell, params, jnp.ones((5, 3)), state=jnp.ones(2))[4])
    [[1. 0.]
     [0. 1.]]
    """
    cell = as_cell(cell)

    def step(params, state, x, key=None):
        after, _ = cell.step(params, state, x, key)
        return after, (state, x, key)

    watched = Cell(cell.init, cell.initial_state, step, str(cell))
    _, visited = unroll(watched, params, xs, state=state, key=key)

    def jacobian(before):
        state, x, step_key = before
        flat, with_numbers = numbers_of("state_jacobians", state)
        return jax.jacfwd(
            lambda numbers: numbers_of(
                "state_jacobians", cell.step(params, with_numbers(numbers), x, step_key)[0]
            )[0]
        )(flat)

    return jax.vmap(jacobian)(visited)


def jacobian_products(jacobians: jax.Array) -> JacobianProducts:
    """The products of Jacobians over every distance from the first: ds_k/ds_0 for k = 1 to T.

    Start from another step with `jacobians[t:]`. Gradients over a distance vanish where the largest
    singular value of the product does, and may explode where it grows (Pascanu, Mikolov and Bengio,
    2013, "On the difficulty of training recurrent neural networks").

    Args:
      jacobians: [T, N, N], as `state_jacobians` gives them.

    Raises:
      ValueError: another shape.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> jacobian = jnp.diag(jnp.array([2.0, 0.5]))
    >>> products = rx.jacobian_products(jnp.stack([jacobian] * 3))
    >>> print(jnp.exp(products.log_singular_values()).round(3))
    [[2.    0.5  ]
     [4.    0.25 ]
     [8.    0.125]]
    """
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        raise ValueError(
            f"jacobian_products: jacobians must be [T, N, N], got shape {jacobians.shape}"
        )
    # Neither the products nor a decomposition of them are for narrower numbers.
    jacobians = jacobians.astype(jnp.promote_types(jacobians.dtype, jnp.float32))

    def step(carry, jacobian):
        product, log_scale = carry
        product = jacobian @ product
        largest = jnp.max(jnp.abs(product))
        log_scale = log_scale + jnp.log(largest)
        product = product / jnp.where(largest > 0, largest, 1)
        return (product, log_scale), JacobianProducts(product, log_scale)

    start = jnp.eye(jacobians.shape[1], dtype=jacobians.dtype), jnp.zeros((), jacobians.dtype)
    return scan(step, start, jacobians)[1]


def numbers_of(function: str, state: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """A state's floating leaves as one vector [N], and the state with others in their place."""
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, state))
    at = [n for n, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if not at or any(jnp.issubdtype(leaves[n].dtype, jnp.complexfloating) for n in at):
        raise TypeError(
            f"{function}: the state must have leaves of real floats, got "
            f"{', '.join(str(leaf.dtype) for leaf in leaves) or 'none'}"
        )
    vector, unravel = ravel_pytree([leaves[n] for n in at])

    def with_numbers(numbers: jax.Array) -> PyTree:
        new = list(leaves)
        for n, leaf in zip(at, unravel(numbers), strict=True):
            new[n] = leaf
        return jax.tree.unflatten(treedef, new)

    return vector, with_numbers
