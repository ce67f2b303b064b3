"""The arguments that every decoder shares, checked at trace time."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrax.core import check_same_state

Step = Callable[[Any, jax.Array], tuple[Any, Any]]


def positive(function: str, name: str, value: Any) -> int:
    """A static size, as an int."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:  # a float, a string, or a traced value, which cannot be a size
        raise TypeError(
            f"{function}: {name} sizes the arrays, so it must be a Python int, got {value!r}"
        ) from None
    if number < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {number}")
    return number


def scalar(
    function: str, name: str, value: Any, *, low: float | None = None, high: float | None = None
) -> jax.Array:
    """A traced integer scalar; its range is checked where it is known."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):  # a string; None; more than 32 bits
        raise TypeError(f"{function}: {name} must be an integer, got {value!r}") from None
    if array.ndim != 0:
        raise ValueError(
            f"{function}: {name} must be one number for one example, got shape {array.shape}. "
            "Use jax.vmap for the batch"
        )
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{function}: {name} must be an integer, got {array.dtype}")
    if not isinstance(array, Tracer):
        number = int(array)
        if (low is not None and number < low) or (high is not None and number > high):
            expected = f"at least {low}" if high is None else f"in [{low}, {high}]"
            raise ValueError(f"{function}: {name} must be {expected}, got {number}")
    return array.astype(jnp.int32)


def beam(function: str, beam_size: Any, n_best: Any) -> tuple[int, int]:
    """The static sizes K and N."""
    width = positive(function, "beam_size", beam_size)
    rows = width if n_best is None else positive(function, "n_best", n_best)
    if rows > width:
        raise ValueError(f"{function}: n_best must be at most beam_size={width}, got {rows}")
    return width, rows


def number(
    function: str,
    name: str,
    value: Any,
    *,
    above: float = -np.inf,
    low: float = -np.inf,
    high: float = np.inf,
) -> Any:
    """A traced real scalar that is not NaN, as far as that is known."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):  # a string; None
        raise TypeError(f"{function}: {name} must be a number, got {value!r}") from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise TypeError(f"{function}: {name} must be a real number, got {value!r}")
    if array.ndim != 0:
        raise ValueError(f"{function}: {name} must be one number, got shape {array.shape}")
    if not isinstance(array, Tracer):
        if np.isnan(float(array)):
            raise ValueError(f"{function}: {name} must not be NaN")
        if float(array) <= above:
            raise ValueError(f"{function}: {name} must be above {above}, got {value}")
        if float(array) < low:
            raise ValueError(f"{function}: {name} must be at least {low}, got {value}")
        if float(array) > high:
            raise ValueError(f"{function}: {name} must be at most {high}, got {value}")
    return value


def split_output(output: Any, function: str = "decode") -> tuple[Any, Any]:
    """`(logits, attention)` of what a step returned beside the state."""
    if isinstance(output, tuple):
        if len(output) != 2:
            raise TypeError(
                f"{function}: step must return (state, logits) or (state, (logits, attention)), "
                f"but its second part is a tuple of {len(output)}"
            )
        return output
    return output, None


def checked_step(function: str, step: Step, state: Any) -> tuple[Any, Any, int, Any]:
    """Traces `step` once, abstractly.

    Returns `(state as arrays, dtype of the scores, V, attention's shapes)`; the scores are at least
    float32.
    """
    if not callable(step):
        raise TypeError(f"{function}: step must be a function of (state, token), got {step!r}")
    state = jax.tree.map(jnp.asarray, state)
    returned = jax.eval_shape(step, state, jax.ShapeDtypeStruct((), jnp.int32))
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(
            f"{function}: step must return (state, logits) or (state, (logits, attention)), got "
            f"{type(returned).__name__}"
        )
    check_same_state(function, state, returned[0])
    logits, attention = split_output(returned[1], function)
    if not (hasattr(logits, "shape") and hasattr(logits, "dtype")):
        raise TypeError(f"{function}: step must return logits [V], got {type(logits).__name__}")
    if len(logits.shape) != 1 or logits.shape[0] < 1:
        raise ValueError(
            f"{function}: step must return logits of shape [V] for one hypothesis of one example, "
            f"got shape {tuple(logits.shape)}. Use jax.vmap for the batch"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{function}: logits must be floating, got {logits.dtype}")
    return state, jnp.promote_types(logits.dtype, jnp.float32), logits.shape[0], attention


def log_normalizer(logits: jax.Array, top: jax.Array) -> jax.Array:
    """log sum exp over the last axis, whose largest is `top`.

    Written so that it is never below the largest logit, also after rounding: no log-probability
    is above zero, which the bounds of the search rest on.
    """
    safe = jnp.where(jnp.isfinite(top), top, 0)
    return jnp.where(
        jnp.isfinite(top), top + jnp.log(jnp.exp(logits - safe[..., None]).sum(-1)), top
    )
