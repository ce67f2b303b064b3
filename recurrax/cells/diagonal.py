"""What the cells with a complex diagonal recurrence share, in real arithmetic.

The state is kept as two real arrays: they may be of any floating dtype, optimisers and checkpoints
need not know of complex numbers, and `rx.scan` solves the pair together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_number


class DiagonalState(NamedTuple):
    """`re` and `im` [N] or [H, N], the parts of a complex state."""

    re: jax.Array
    im: jax.Array


def advance(decay: jax.Array, state: DiagonalState, drive: DiagonalState) -> DiagonalState:
    """decay * state + drive; in half precision the decay, complex64, is not rounded."""
    (re, im), dtype = state, drive.re.dtype
    return DiagonalState(
        re=(decay.real * re - decay.imag * im + drive.re).astype(dtype),
        im=(decay.imag * re + decay.real * im + drive.im).astype(dtype),
    )


def zero_order_hold(a: jax.Array, dt: jax.Array) -> tuple[jax.Array, jax.Array]:
    """s' = a s + u, for a u held for dt: s_t = exp(dt a) s_{t-1} + (exp(dt a) - 1) / a u_t."""
    return jnp.exp(dt * a), jnp.expm1(dt * a) / a


def widened(*leaves: jax.Array) -> list[jax.Array]:
    """In float32 at least: a phase or a modulus near 1 is to the power of T in the state."""
    return [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in leaves]


def normal(key: jax.Array, shape: tuple[int, ...], variance: float, dtype: Any) -> jax.Array:
    """Normal numbers of this variance; consumes the key."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return (math.sqrt(variance) * jax.random.normal(key, shape, wide)).astype(dtype)


def log_uniform(key: jax.Array, shape: tuple[int, ...], low: float, high: float, dtype: Any):
    """Logarithms of numbers in [low, high], uniform themselves; consumes the key."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return jax.random.uniform(key, shape, wide, math.log(low), math.log(high)).astype(dtype)


def check_step_sizes(name: str, dt_min: float, dt_max: float) -> None:
    """Raises where 0 < dt_min <= dt_max does not hold."""
    check_number(name, "dt_min", dt_min)
    check_number(name, "dt_max", dt_max)
    if dt_min > dt_max:
        raise ValueError(f"{name}: dt_min must be at most dt_max={dt_max}, got {dt_min}")


def check_width(name: str, x: Any, features: int) -> None:
    """Raises where a cell whose output is as wide as its input is made for another width."""
    if x.shape[0] != features:
        raise ValueError(
            f"{name}.init: x must be as wide as the output, D = H = {features}, got width "
            f"{x.shape[0]}; put rx.dense({features}) in front"
        )
