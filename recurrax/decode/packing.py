"""What is kept of an array, moved to its front."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def packed(
    values: jax.Array, keep: jax.Array, size: int, fill: int | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The `values` [T] that `keep` [T] marks, in order, and how many there are.

    Returns:
      `(array [size], count)`; `fill` stands past the count, and what is beyond `size` is left out.
    """
    place = jnp.where(keep, jnp.cumsum(keep) - 1, size)
    array = jnp.full(size, fill, values.dtype).at[place].set(values, mode="drop")
    return array, keep.sum(dtype=jnp.int32)
