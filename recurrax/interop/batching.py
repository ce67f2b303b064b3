"""Our functions of one example, for peers whose modules take a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from recurrax.core import Cell, PyTree


def over_batch(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    """`function` over the first `axes` axes of all of its arguments; None stays None."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def keys_of(key: jax.Array | None, batch: tuple[int, ...]) -> jax.Array | None:
    """One key an example; none without a key."""
    return None if key is None else jax.random.split(key, batch) if batch else key


def batch_axes(name: str, xs: Any, feature_axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of `xs` in two: the batch, and the last `feature_axes` axes, one example's.

    Raises:
      TypeError: `xs` is no array. ValueError: it has too few axes.
    """
    if not hasattr(xs, "shape"):
        raise TypeError(f"{name}: expected one array, got {type(xs).__name__}")
    if len(xs.shape) < feature_axes:
        raise ValueError(
            f"{name}: expected at least {feature_axes} axes, those of one example, got shape "
            f"{xs.shape}"
        )
    axes = len(xs.shape) - feature_axes
    return tuple(xs.shape[:axes]), tuple(xs.shape[axes:])


def broadcast(tree: PyTree, batch: tuple[int, ...]) -> PyTree:
    """One example's state, for each example of a batch."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, batch + jnp.shape(leaf)), tree)


def constant_state(cell: Cell, params: PyTree) -> PyTree:
    """The initial state of a cell of which only the shapes of the params are known.

    Raises:
      ValueError: the state depends on the params (it is learned).
    """
    jaxpr = jax.make_jaxpr(cell.initial_state)(params).jaxpr
    read = [*jaxpr.outvars, *(var for equation in jaxpr.eqns for var in equation.invars)]
    if any(var is param for var in read for param in jaxpr.invars):
        raise ValueError(
            f"{cell}: its initial state depends on its params, and flax asks for the carry without "
            f"them. Hand in the initial carry, or use to_module, which has no such limit"
        )
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    return cell.initial_state(zeros)
