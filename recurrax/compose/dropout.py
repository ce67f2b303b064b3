"""Dropout on the sequence between layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from recurrax.core import SequenceModel


def drop(key: jax.Array | None, x: jax.Array, rate: float, shape: tuple[int, ...] | None = None):
    """Zeroes elements of `x` with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
      key: consumed; None returns `x` as it is.
      x: any array.
      rate: in [0, 1).
      shape: of the mask, where it is to be broadcast over `x`; that of `x` by default.
    """
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape if shape is None else shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def dropout(rate: float, *, variational: bool = False) -> SequenceModel:
    """Dropout (Srivastava et al., 2014), as a layer for `serial`; the identity without a key.

    Args:
      rate: the probability that an element is dropped, in [0, 1). Those kept are scaled by
        1 / (1 - rate).
      variational: one mask for all time steps (Gal and Ghahramani, 2016) instead of one a step.

    Raises:
      ValueError: `rate` outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must lie in [0, 1), got {rate}")
    name = f"dropout({rate}, variational=True)" if variational else f"dropout({rate})"

    def init(key, xs) -> tuple[()]:
        return ()

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        shape = (1, *xs.shape[1:]) if variational else None
        return (), drop(key, xs, rate, shape)

    return SequenceModel(init, apply, name)
