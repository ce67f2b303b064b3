"""Initialisers per gate: the blocks of a gate matrix are drawn apart, never as one wide matrix.

Each has the signature of `jax.nn.initializers`: `(key, shape, dtype) -> array`, and consumes its
key. Any such function can be handed to a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.core import check_function, split_key

Initializer = Callable[..., jax.Array]

orthogonal: Initializer = jax.nn.initializers.orthogonal()
glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def per_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draws `gates` independent blocks [rows, H] and lays them side by side, [rows, gates H].

    One orthogonal [H, 4H] matrix does not have orthogonal gates, and glorot's variance for it is
    that of a layer four times as wide: each gate is its own map and is drawn as such.

    Args:
      initializer: draws one block.
      gates: how many; at least 1.

    Raises:
      TypeError: `initializer` is no function. ValueError: no gates; a shape without axes, or a
        width that does not divide by `gates`.
    """
    check_function("per_gate", "initializer", initializer)
    if gates < 1:
        raise ValueError(f"per_gate: gates must be at least 1, got {gates}")

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        if not shape or shape[-1] % gates:
            raise ValueError(
                f"per_gate: the last axis of shape must divide into {gates} gates, got {shape}"
            )
        *rows, width = shape
        # QR has no half-precision kernel: draw in float32 at least, then round.
        wide = jnp.promote_types(dtype, jnp.float32)
        blocks = [
            initializer(k, (*rows, width // gates), wide) for k in split_key("per_gate", key, gates)
        ]
        return jnp.concatenate(blocks, axis=-1).astype(dtype)

    return init
