"""Initialisers per gate: the blocks of a gate matrix are drawn apart, never as one wide matrix.

Each has the signature of `jax.nn.initializers`: `(key, shape, dtype) -> array`, and consumes its
key. Any such function can be handed to a cell.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.checks import check_count, check_number
from recurrax.core import check_function, split_key

Initializer = Callable[..., jax.Array]

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """A random orthogonal matrix, as `jax.nn.initializers.orthogonal` draws it (Saxe et al., 2014).

    In half precision, which has no QR decomposition, it is float32's, rounded.

    Under `jax.vmap`, over seeds say, one matrix is drawn after the other: of batches of QR
    decompositions jaxlib's CPU kernels wait for each other, on two cores for ever.
    """

    @jax.custom_batching.sequential_vmap
    def draw(key: jax.Array) -> jax.Array:
        wide = jnp.promote_types(dtype, jnp.float32)
        return jax.nn.initializers.orthogonal()(key, shape, wide).astype(dtype)

    return draw(key)


def identity(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """The identity matrix, the recurrence of an IRNN at its start (Le et al., 2015).

    Nothing is drawn: the key is not consumed. In a matrix that is not square the rest is zero.

    Raises:
      ValueError: `shape` is not that of a matrix.
    """
    if len(shape) != 2:
        raise ValueError(f"identity: shape must be that of a matrix, got {shape}")
    return jnp.eye(*shape, dtype=dtype)


def per_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draws `gates` independent blocks [rows, H] and lays them side by side, [rows, gates H].

    One orthogonal [H, 4H] matrix does not have orthogonal gates, and glorot's variance for it is
    that of a layer four times as wide: each gate is its own map and is drawn as such.

    Args:
      initializer: draws one block.
      gates: how many; at least 1.

    Raises:
      TypeError: `initializer` is no function, `gates` no int. ValueError: no gates; a shape without
        axes, or a width that does not divide by `gates`; a block of another shape than asked for.
    """
    check_function("per_gate", "initializer", initializer)
    check_count("per_gate", "gates", gates)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        if not shape or shape[-1] % gates:
            raise ValueError(
                f"per_gate: the last axis of shape must divide into {gates} gates, got {shape}"
            )
        block = *shape[:-1], shape[-1] // gates
        # QR has no half-precision kernel: draw in float32 at least, then round.
        wide = jnp.promote_types(dtype, jnp.float32)
        blocks = [initializer(k, block, wide) for k in split_key("per_gate", key, gates)]
        for drawn in map(jnp.shape, blocks):
            if drawn != block:
                raise ValueError(f"per_gate: initializer must draw shape {block}, got {drawn}")
        return jnp.concatenate(blocks, axis=-1).astype(dtype)

    return init


def chrono(longest: int) -> Initializer:
    """Forget biases for dependencies of up to `longest` steps (Tallec and Ollivier, 2018).

        b_f = log u,    u ~ Uniform(1, longest - 1)

    A gate with this bias keeps its cell for about u steps. An LSTM takes it as `forget_bias`, and
    starts its input gate at b_i = -b_f: a cell that keeps for long is written to slowly.

    Args:
      longest: T_max, in steps; at least 3.

    Raises:
      TypeError: `longest` is no number. ValueError: it is less than 3, or not finite.

    >>> import jax, recurrax as rx
    >>> cell = rx.lstm(4, forget_bias=rx.initializers.chrono(100))
    """
    if isinstance(longest, bool) or not isinstance(longest, numbers.Real):
        raise TypeError(f"chrono: longest must be a number of steps, got {longest!r}")
    if not 3 <= float(longest) < math.inf:
        raise ValueError(f"chrono: longest must be at least 3 steps, and finite, got {longest}")

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        wide = jnp.promote_types(dtype, jnp.float32)
        return jnp.log(jax.random.uniform(key, shape, wide, 1, longest - 1)).astype(dtype)

    return init


def ring(r_min: float = 0.0, r_max: float = 1.0, max_phase: float = 2 * math.pi) -> Initializer:
    """Complex eigenvalues, uniform on a ring in the unit disc (Orvieto et al., 2023).

        lambda = exp(-exp(nu_log) + i exp(theta_log)),    r_min <= |lambda| <= r_max

    Draws the two rows nu_log and theta_log [2, N]. Uniform is per area, so that the squared modulus
    is; the phase is uniform in (0, max_phase].

    Args:
      r_min: the inner radius.
      r_max: the outer radius, at most 1.
      max_phase: in radians, at most 2 pi.

    Raises:
      TypeError: an argument is no number. ValueError: not 0 <= r_min < r_max <= 1, or `max_phase`
        not in (0, 2 pi]; a shape other than [2, N].
    """
    for argument, value in (("r_min", r_min), ("r_max", r_max), ("max_phase", max_phase)):
        check_number("ring", argument, value, "")
    if not 0 <= r_min < r_max <= 1:
        raise ValueError(f"ring: expected 0 <= r_min < r_max <= 1, got {r_min} and {r_max}")
    if not 0 < max_phase <= 2 * math.pi:
        raise ValueError(f"ring: max_phase must be in (0, 2 pi], got {max_phase}")

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        if len(shape) != 2 or shape[0] != 2:
            raise ValueError(f"ring: shape must be that of two rows, (2, N), got {shape}")
        wide = jnp.promote_types(dtype, jnp.float32)
        # In (0, 1), both ends excluded: their logarithms are not finite, nor are those of those.
        least = jnp.finfo(wide).eps
        for_modulus, for_phase = jax.random.uniform(key, shape, wide, least, 1 - least)
        squared = r_min**2 + (r_max**2 - r_min**2) * for_modulus
        squared = jnp.minimum(squared, 1 - least)  # a sum near 1 may have been rounded to 1
        nu_log = jnp.log(-jnp.log(squared) / 2)
        return jnp.stack([nu_log, jnp.log(max_phase * for_phase)]).astype(dtype)

    return init


def check_forget_bias(name: str, forget_bias: Any) -> None:
    """Raises where a cell's `forget_bias` is neither a number nor an initializer."""
    if not callable(forget_bias) and not isinstance(forget_bias, numbers.Real | jax.Array):
        raise TypeError(
            f"{name}: forget_bias must be a number or an initializer, got {forget_bias!r}"
        )


def gate_biases(
    forget_bias: float | Initializer, key: jax.Array, features: int, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """The biases that the input gate and the forget gate start with, [H] each: b_i, b_f.

    A number is b_f, and b_i = 0. An initializer, such as `chrono`'s, draws b_f, and b_i = -b_f.

    Raises:
      ValueError: an array, or what an initializer drew, has another shape than [H].
    """
    drawn = callable(forget_bias)
    b_f = jnp.asarray(forget_bias(key, (features,), dtype) if drawn else forget_bias, dtype)
    if b_f.shape != (features,) and (drawn or b_f.shape):
        raise ValueError(f"forget_bias: expected shape {(features,)}, got {b_f.shape}")
    zeros = jnp.zeros(features, dtype)
    return -b_f if drawn else zeros, zeros + b_f
