"""Dropout on the sequence between layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from recurrax.compose.rates import check_rate
from recurrax.core import SequenceModel, check_floating
from recurrax.scan.unroll import mask_padding


def drop(
    key: jax.Array | None, x: jax.Array, rate: float, shape: tuple[int, ...] | None = None
) -> jax.Array:
    """Zeroes elements of `x` with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
      key: consumed; None returns `x` as it is.
      x: any array of floats.
      rate: in [0, 1).
      shape: of the mask, where it is to be broadcast over `x`; that of `x` by default.

    Raises:
      TypeError: `x` is no array of floats, `key` no key. ValueError: `rate` outside [0, 1); a
        `shape` that does not broadcast to that of `x`.
    """
    rate = check_rate("drop", rate)
    check_floating("drop", x)
    shape = x.shape if shape is None else tuple(shape)
    # From the right, each axis of the mask must be 1 or that of x: a longer mask would widen x.
    if len(shape) > x.ndim or any(
        a not in (1, b) for a, b in zip(shape[::-1], x.shape[::-1], strict=False)
    ):
        raise ValueError(f"drop: shape {shape} does not broadcast to the shape of x, {x.shape}")
    if key is None or rate == 0:
        return x
    try:
        keep = jax.random.bernoulli(key, 1 - rate, shape)
    except (TypeError, ValueError) as error:
        raise TypeError(f"drop: key must be one jax.random.key, got {key!r}") from error
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def dropout(rate: float, *, variational: bool = False) -> SequenceModel:
    """Dropout (Srivastava et al., 2014), as a layer for `serial`; the identity without a key.

    With a `length`, what lies past it is zero, as everywhere.

    Args:
      rate: the probability that an element is dropped, in [0, 1). Those kept are scaled by
        1 / (1 - rate).
      variational: one mask for all time steps (Gal and Ghahramani, 2016) instead of one a step.

    Raises:
      TypeError: `rate` is no number. ValueError: `rate` outside [0, 1); `variational` of one
        vector, all of which one number would keep or drop.
    """
    check_rate("dropout", rate)
    name = f"dropout({rate}, variational=True)" if variational else f"dropout({rate})"

    def init(key: jax.Array, xs) -> tuple[()]:
        return ()

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        _, xs = mask_padding(xs, length)
        if variational and jnp.ndim(xs) < 2:
            raise ValueError(f"{name}: xs must have shape [T, ...], got {jnp.shape(xs)}")
        return (), drop(key, xs, rate, (1, *xs.shape[1:]) if variational else None)

    return SequenceModel(init, apply, name)
