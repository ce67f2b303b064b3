"""Norms, and what keeps a gradient within a bound: shared by all that clips or measures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def norm_of(leaves: Sequence[Any]) -> jax.Array:
    """Euclidean norm of all `leaves` as one vector, accumulated in float32 at least.

    It is inf where the squares overflow.
    """
    dtype = functools.reduce(jnp.promote_types, (x.dtype for x in leaves), jnp.float32)
    squares = (jnp.sum(jnp.square(jnp.abs(x.astype(dtype)))) for x in leaves)
    return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.finfo(dtype).dtype)))


def wide_norm_of(leaves: Sequence[Any]) -> jax.Array:
    """The same of numbers whose squares neither float32's largest nor its smallest would hold."""
    largest = [jnp.max(jnp.abs(x), initial=0) for x in leaves]
    scale = functools.reduce(jnp.maximum, largest, jnp.zeros((), jnp.float32))
    safe = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    return safe * norm_of([x / safe for x in leaves])


def bound_entries(g: jax.Array, *, bound: float | jax.Array) -> jax.Array:
    """Each entry of `g`, at most `bound` from zero."""
    bound = jnp.asarray(bound, g.dtype)
    return jnp.clip(g, -bound, bound)


def shrink(g: jax.Array, *, bound: float | jax.Array, norm: jax.Array | None = None) -> jax.Array:
    """`g min(1, bound / norm)`, in the dtype of `g`; `norm` is that of `g` unless given."""
    norm = norm_of([g]) if norm is None else norm
    # Written so that a norm of 0 and a bound of inf need no case.
    factor = 1 / jnp.maximum(1, norm / jnp.asarray(bound, norm.dtype))
    dtype = jnp.promote_types(g.dtype, norm.dtype)
    return (g.astype(dtype) * factor.astype(dtype)).astype(g.dtype)
