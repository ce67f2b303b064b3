"""Initialisers per gate: the blocks of a gate matrix are drawn apart, never as one wide matrix.

Each has the signature of `jax.nn.initializers`: `(key, shape, dtype) -> array`, and consumes its
key. Any such function can be handed to a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]

orthogonal: Initializer = jax.nn.initializers.orthogonal()
glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def per_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draws `gates` independent blocks of shape [rows, H] and lays them side by side, [rows, gates H].

    One orthogonal [H, 4H] matrix does not have orthogonal gates, and glorot's variance for it is
    that of a layer four times as wide: each gate is its own map and is drawn as such.

    Raises:
      ValueError: the width does not divide by `gates`.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        *rows, width = shape
        if width % gates:
            raise ValueError(f"per_gate: width {width} does not divide into {gates} gates")
        # QR has no half-precision kernel: draw in float32 at least, then round.
        wide = jnp.promote_types(dtype, jnp.float32)
        blocks = [
            initializer(k, (*rows, width // gates), wide) for k in jax.random.split(key, gates)
        ]
        return jnp.concatenate(blocks, axis=-1).astype(dtype)

    return init
