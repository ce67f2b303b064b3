"""Clipping for recurrent training: every kind around one optimizer, with a report.

Gradients through many time steps explode now and then; clipping bounds the step that such a
gradient takes. `clipped` puts the usual kinds before an optimizer, measures what they did, and
skips a gradient that is not finite at all.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import optax


class ClippingReport(NamedTuple):
    """What clipping did at the newest step, and the skips so far. Scalars.

    Attributes:
      norm_before: global norm of the gradient as it came; inf or nan where it was not finite.
      norm_after: global norm of what the optimizer was given; 0 where the step was skipped.
      skipped: number of steps skipped since `init`, because the gradient was not finite.
      skipped_in_a_row: number of steps skipped since the last one that was not. A training loop
        should stop when it grows: the parameters have not moved for that long.
    """

    norm_before: jax.Array
    norm_after: jax.Array
    skipped: jax.Array
    skipped_in_a_row: jax.Array


class ClippingState(NamedTuple):
    """State of `clipped`: its report and the state of the optimizer that it wraps."""

    report: ClippingReport
    optimizer: Any


def clipped(
    optimizer: optax.GradientTransformation,
    *,
    value: float | jax.Array | None = None,
    per_leaf_norm: float | jax.Array | None = None,
    adaptive: float | jax.Array | None = None,
    global_norm: float | jax.Array | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Clips gradients before `optimizer` sees them, reports their norms, skips non-finite ones.

    The chosen kinds are applied in the order of the arguments, from the finest to the coarsest.
    Each only ever shrinks entries, so after the last of them every chosen bound holds:

      value          g_i <- min(max(g_i, -value), value)                   each entry
      per_leaf_norm  g   <- g min(1, per_leaf_norm / |g|)                  each leaf g
      adaptive       g_u <- g_u min(1, adaptive max(|w_u|, 1e-3) / |g_u|)  each unit u of each leaf
      global_norm    g   <- g min(1, global_norm / |g|)                    all leaves as one vector

    A unit is one output of a weight matrix `[in, out]`, or a whole vector of biases, as in
    `optax.adaptive_grad_clip`. Norms are accumulated in float32 at least, whatever the gradient's
    dtype; updates keep the dtype that the optimizer gives them.

    A gradient is non-finite when its global norm is: an entry is inf or nan, or the squares
    overflow. Such a step changes nothing but the report: the updates are zeros (weight decay too),
    and the optimizer's state (moments, counts, schedules) stays as it was.

    Args:
      optimizer: any optax transformation; `optax.identity()` to clip only. `clipped` in turn goes
        wherever optax takes a transformation: `chain`, `masked`, `multi_transform` (where each
        group then has norms of its own), `MultiSteps`.
      value, per_leaf_norm, adaptive, global_norm: positive thresholds; at least one. `math.inf`
        clips nothing: `global_norm=math.inf` only measures and skips.

    Returns:
      The transformation; read its state with `clipping_report`.

    Raises:
      TypeError: `optimizer` is no optax transformation, or a threshold is not a number.
      ValueError: no threshold is given, or one is not positive; in `update`: `adaptive` without
        params.

    Sources: value: Mikolov, 2012 (thesis); norms: Pascanu, Mikolov and Bengio, 2013, "On the
    difficulty of training recurrent neural networks"; adaptive: Brock et al., 2021,
    "High-performance large-scale image recognition without normalization".

    >>> import jax.numpy as jnp, optax
    >>> import recurrax as rx
    >>> optimizer = rx.clipped(optax.sgd(1.0), global_norm=1.0)
    >>> params = {"w": jnp.zeros(2)}
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update({"w": jnp.array([3.0, 4.0])}, state, params)
    >>> report = rx.clipping_report(state)
    >>> float(report.norm_before), round(float(report.norm_after), 3), int(report.skipped)
    (5.0, 1.0, 0)
    """
    import optax  # here, because it would add a tenth to the time that `import recurrax` takes

    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"clipped: optimizer must be an optax transformation, such as optax.adam(1e-3); "
            f"got {optimizer!r}."
        )
    thresholds = {
        "value": value,
        "per_leaf_norm": per_leaf_norm,
        "adaptive": adaptive,
        "global_norm": global_norm,
    }
    if all(threshold is None for threshold in thresholds.values()):
        raise ValueError(
            f"clipped: no kind of clipping is chosen; give at least one of {', '.join(thresholds)} "
            f"(global_norm=math.inf only measures norms and skips non-finite gradients)."
        )
    for name, threshold in thresholds.items():
        _check_threshold(name, threshold)

    optimizer = optax.with_extra_args_support(optimizer)
    clip_units = None if adaptive is None else optax.adaptive_grad_clip(adaptive)

    def clip(gradients: Any, params: Any) -> Any:
        if value is not None:
            gradients = jax.tree.map(functools.partial(_bound_entries, bound=value), gradients)
        if per_leaf_norm is not None:
            gradients = jax.tree.map(functools.partial(_shrink, bound=per_leaf_norm), gradients)
        if clip_units is not None:
            gradients, _ = clip_units.update(gradients, clip_units.init(params), params)
        if global_norm is not None:
            norm = _norm(jax.tree.leaves(gradients))
            shrink = functools.partial(_shrink, bound=global_norm, norm=norm)
            gradients = jax.tree.map(shrink, gradients)
        return gradients

    def init(params: Any) -> ClippingState:
        dtype = _norm(jax.tree.leaves(params)).dtype
        # Four arrays, not two used twice: a buffer cannot be donated twice.
        report = ClippingReport(*(jnp.zeros((), d) for d in (dtype, dtype, jnp.int32, jnp.int32)))
        return ClippingState(report, optimizer.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        if adaptive is not None and params is None:
            raise ValueError(
                "clipped: adaptive clipping compares gradients with parameters, and no params "
                "came; call update(gradients, state, params)."
            )
        norm_before = _norm(jax.tree.leaves(updates))
        finite = jnp.isfinite(norm_before)
        gradients = clip(updates, params)
        norm_after = _norm(jax.tree.leaves(gradients))
        updates, inner = optimizer.update(gradients, state.optimizer, params, **extra)
        # A select instead of a `lax.cond`: it fuses into the optimizer's own pass over memory.
        updates = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(finite, new, old), inner, state.optimizer)
        before = state.report
        report = ClippingReport(
            norm_before=norm_before.astype(before.norm_before.dtype),
            norm_after=jnp.where(finite, norm_after, 0).astype(before.norm_after.dtype),
            skipped=before.skipped + jnp.where(finite, 0, 1),
            skipped_in_a_row=jnp.where(finite, 0, before.skipped_in_a_row + 1),
        )
        return updates, ClippingState(report, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def clipping_report(opt_state: Any) -> ClippingReport:
    """Finds the report of `clipped` in an optimizer's state, however deeply nested.

    Args:
      opt_state: the state of a transformation that holds exactly one outermost `clipped`.

    Raises:
      ValueError: there is none, or more than one (pass the part of the state that is meant).
    """

    def is_report(node: Any) -> bool:
        return isinstance(node, ClippingState)

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_report) if is_report(node)]
    if len(found) != 1:
        raise ValueError(
            f"clipping_report: opt_state must hold one state of recurrax.clipped; found "
            f"{len(found)} in {type(opt_state).__name__}. "
            + ("Pass the part of it that is meant." if found else "Wrap the optimizer in clipped.")
        )
    return found[0].report


def _norm(leaves: Sequence[Any]) -> jax.Array:
    """Euclidean norm of all `leaves` as one vector, accumulated in float32 at least."""
    dtype = functools.reduce(jnp.promote_types, (x.dtype for x in leaves), jnp.float32)
    squares = (jnp.sum(jnp.square(jnp.abs(x.astype(dtype)))) for x in leaves)
    return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.finfo(dtype).dtype)))


def _bound_entries(g: jax.Array, *, bound: float | jax.Array) -> jax.Array:
    bound = jnp.asarray(bound, g.dtype)
    return jnp.clip(g, -bound, bound)


def _shrink(g: jax.Array, *, bound: float | jax.Array, norm: jax.Array | None = None) -> jax.Array:
    """`g min(1, bound / norm)`, in the dtype of `g`; `norm` is that of `g` unless given."""
    norm = _norm([g]) if norm is None else norm
    # Written so that a norm of 0 and a bound of inf need no case.
    factor = 1 / jnp.maximum(1, norm / jnp.asarray(bound, norm.dtype))
    dtype = jnp.promote_types(g.dtype, norm.dtype)
    return (g.astype(dtype) * factor.astype(dtype)).astype(g.dtype)


def _check_threshold(name: str, threshold: Any) -> None:
    if threshold is None:
        return
    if isinstance(threshold, jax.Array):  # perhaps traced: only its shape can be checked
        if threshold.shape != ():
            raise ValueError(
                f"clipped: {name} must be one number; got an array of shape {threshold.shape}."
            )
        return
    if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real):
        raise TypeError(
            f"clipped: {name} must be a positive number or None; got {threshold!r} of type "
            f"{type(threshold).__name__}."
        )
    if math.isnan(threshold) or threshold <= 0:
        raise ValueError(f"clipped: {name} must be positive; got {threshold!r}.")
