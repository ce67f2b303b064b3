"""Clipping for recurrent training: every kind around one optimizer, with a report.

Gradients through many time steps explode now and then; clipping bounds the step that such a
gradient takes. `clipped` puts the usual kinds before an optimizer, measures what they did, and
skips a gradient that is not finite at all.
"""

from __future__ import annotations

import functools
import math
import numbers
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from recurrax.checks import check_count
from recurrax.gradients.bounds import bound_entries, norm_of, shrink

if TYPE_CHECKING:
    import optax


class ClippingReport(NamedTuple):
    """What clipping did at the newest step, and the skips so far. Scalars.

    Attributes:
      norm_before: global norm of the gradient as it came; inf or nan where it was not finite.
      norm_after: global norm of what the optimizer was given; 0 where the step was skipped.
      skipped: number of steps skipped since `init`, because the gradient was not finite.
      skipped_in_a_row: number of gradients not finite since the last one that was. A training loop
        should stop when it grows: the parameters have not moved for that long.
      bound: what the percentile of the norms came to; inf without one.
      let_through: number of gradients since `init` that were not finite and yet not skipped,
        because `give_up` others had been before them in a row.
    """

    norm_before: jax.Array
    norm_after: jax.Array
    skipped: jax.Array
    skipped_in_a_row: jax.Array
    bound: jax.Array
    let_through: jax.Array


class ClippingState(NamedTuple):
    """State of `clipped`: its report and the state of the optimizer that it wraps.

    `norms` [history] are those that a percentile is taken of, the newest first, NaN where there
    are none yet; None without a percentile.
    """

    report: ClippingReport
    optimizer: Any
    norms: jax.Array | None = None


def clipped(
    optimizer: optax.GradientTransformation,
    *,
    value: float | jax.Array | None = None,
    per_leaf_norm: float | jax.Array | None = None,
    adaptive: float | jax.Array | None = None,
    percentile: float | None = None,
    global_norm: float | jax.Array | None = None,
    history: int = 1000,
    give_up: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Clips gradients before `optimizer` sees them, reports their norms, skips non-finite ones.

    The chosen kinds are applied in the order of the arguments, from the finest to the coarsest.
    Each only ever shrinks entries, so after the last of them every chosen bound holds:

      value          g_i <- min(max(g_i, -value), value)                   each entry
      per_leaf_norm  g   <- g min(1, per_leaf_norm / |g|)                  each leaf g
      adaptive       g_u <- g_u min(1, adaptive max(|w_u|, 1e-3) / |g_u|)  each unit u of each leaf
      percentile     g   <- g min(1, P / |g|)                              all leaves as one vector
      global_norm    g   <- g min(1, global_norm / |g|)                    all leaves as one vector

    P is the percentile of the norms that the newest `history` gradients had at this point, this
    one's included: a bound that follows the training, and needs no unit. `clipping_report` has it.

    A unit is one output of a weight matrix `[in, out]`, or a whole vector of biases, as in
    `optax.adaptive_grad_clip`. Norms are accumulated in float32 at least, whatever the gradient's
    dtype; updates keep the dtype that the optimizer gives them.

    A gradient is non-finite when its global norm is: an entry is inf or nan, or the squares
    overflow. Such a step changes nothing but the report: the updates are zeros (weight decay too),
    and the optimizer's state (moments, counts, schedules) stays as it was. After `give_up` such
    steps in a row the next one is let through, so that the parameters show what is the matter, as
    in `optax.apply_if_finite`.

    Args:
      optimizer: any optax transformation; `optax.identity()` to clip only. `clipped` in turn goes
        wherever optax takes a transformation: `chain`, `masked`, `multi_transform` (where each
        group then has norms of its own), `MultiSteps`.
      value, per_leaf_norm, adaptive, global_norm: positive thresholds; at least one. `math.inf`
        clips nothing: `global_norm=math.inf` only measures and skips.
      percentile: from 0, the smallest norm, to 100, which clips nothing; the paper takes 10.
      history: how many norms the percentile is of.
      give_up: how many steps in a row may be skipped; None for any number.

    Returns:
      The transformation; read its state with `clipping_report`.

    Raises:
      TypeError: `optimizer` is no optax transformation, or a threshold is not a number.
      ValueError: no threshold is given, or one is not positive; a percentile outside [0, 100];
        in `update`: `adaptive` without params.

    Sources: value: Mikolov, 2012 (thesis); norms: Pascanu, Mikolov and Bengio, 2013, "On the
    difficulty of training recurrent neural networks"; adaptive: Brock et al., 2021,
    "High-performance large-scale image recognition without normalization"; percentile:
    Seetharaman et al., 2020, "AutoClip: adaptive gradient clipping for source separation networks".

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
    if percentile is None and all(threshold is None for threshold in thresholds.values()):
        raise ValueError(
            f"clipped: no kind of clipping is chosen; give at least one of {', '.join(thresholds)} "
            f"and percentile (global_norm=math.inf only measures and skips non-finite gradients)."
        )
    for name, threshold in thresholds.items():
        _check_threshold(name, threshold)
    _check_percentile(percentile)
    check_count("clipped", "history", history)
    if give_up is not None:
        check_count("clipped", "give_up", give_up)

    optimizer = optax.with_extra_args_support(optimizer)
    clip_units = None if adaptive is None else optax.adaptive_grad_clip(adaptive)

    def clip(gradients: Any, params: Any, norms: Any) -> tuple[Any, Any, Any]:
        bound = math.inf
        if value is not None:
            gradients = jax.tree.map(functools.partial(bound_entries, bound=value), gradients)
        if per_leaf_norm is not None:
            gradients = jax.tree.map(functools.partial(shrink, bound=per_leaf_norm), gradients)
        if clip_units is not None:
            gradients, _ = clip_units.update(gradients, clip_units.init(params), params)
        if percentile is not None:
            norm = norm_of(jax.tree.leaves(gradients))
            norms = jnp.roll(norms, 1).at[0].set(norm)
            # Not 0: what has no length need not be shrunk, by 0 / 0 least of all.
            bound = jnp.maximum(jnp.nanpercentile(norms, percentile), jnp.finfo(norms.dtype).tiny)
            gradients = jax.tree.map(functools.partial(shrink, bound=bound, norm=norm), gradients)
        if global_norm is not None:
            norm = norm_of(jax.tree.leaves(gradients))
            gradients = jax.tree.map(
                functools.partial(shrink, bound=global_norm, norm=norm), gradients
            )
        return gradients, norms, bound

    def init(params: Any) -> Any:
        dtype = norm_of(jax.tree.leaves(params)).dtype
        dtypes = (dtype, dtype, jnp.int32, jnp.int32, dtype, jnp.int32)
        # Arrays of their own, not two used many times: a buffer cannot be donated twice.
        report = ClippingReport(*(jnp.zeros((), d) for d in dtypes))
        norms = None if percentile is None else jnp.full(history, jnp.nan, dtype)
        return ClippingState(report, optimizer.init(params), norms)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        if adaptive is not None and params is None:
            raise ValueError(
                "clipped: adaptive clipping compares gradients with parameters, and no params "
                "came; call update(gradients, state, params)."
            )
        before = state.report
        norm_before = norm_of(jax.tree.leaves(updates))
        finite = jnp.isfinite(norm_before)
        in_a_row = jnp.where(finite, 0, before.skipped_in_a_row + 1)
        through = finite if give_up is None else finite | (in_a_row > give_up)
        gradients, norms, bound = clip(updates, params, state.norms)
        if give_up is not None:  # what is let through is shown as it came
            keep = functools.partial(jnp.where, finite)
            gradients = jax.tree.map(keep, gradients, updates)
        norm_after = norm_of(jax.tree.leaves(gradients))
        updates, inner = optimizer.update(gradients, state.optimizer, params, **extra)
        # A select instead of a `lax.cond`: it fuses into the optimizer's own pass over memory.
        updates = jax.tree.map(lambda u: jnp.where(through, u, jnp.zeros_like(u)), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(through, new, old), inner, state.optimizer)
        norms = jax.tree.map(lambda new, old: jnp.where(finite, new, old), norms, state.norms)
        report = ClippingReport(
            norm_before=norm_before.astype(before.norm_before.dtype),
            norm_after=jnp.where(through, norm_after, 0).astype(before.norm_after.dtype),
            skipped=before.skipped + jnp.where(through, 0, 1),
            skipped_in_a_row=in_a_row,
            bound=jnp.asarray(bound, before.bound.dtype),
            let_through=before.let_through + jnp.where(through & ~finite, 1, 0),
        )
        return updates, ClippingState(report, inner, norms)

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


def _check_threshold(name: str, threshold: Any) -> None:
    if threshold is None:
        return
    if isinstance(threshold, jax.Array):  # if traced, only its shape can be checked
        if threshold.shape != ():
            raise ValueError(
                f"clipped: {name} must be one number; got an array of shape {threshold.shape}."
            )
        if isinstance(threshold, Tracer):
            return
        threshold = threshold.item()
    if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real):
        raise TypeError(
            f"clipped: {name} must be a positive number or None; got {threshold!r} of type "
            f"{type(threshold).__name__}."
        )
    if math.isnan(threshold) or threshold <= 0:
        raise ValueError(f"clipped: {name} must be positive; got {threshold!r}.")


def _check_percentile(percentile: Any) -> None:
    if percentile is None:
        return
    if isinstance(percentile, bool) or not isinstance(percentile, numbers.Real):
        raise TypeError(f"clipped: percentile must be a number or None; got {percentile!r}.")
    if not 0 <= float(percentile) <= 100:
        raise ValueError(f"clipped: percentile must lie in [0, 100]; got {percentile!r}.")
