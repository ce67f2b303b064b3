"""`unroll`: a cell over a sequence, with variable length, resets and direction."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.core import (
    PyTree,
    as_cell,
    check_length,
    check_result,
    check_same_state,
    check_state,
    split_key,
)
from recurrax.scan.scan import scan


def unroll(
    cell: Any,
    params: PyTree,
    xs: PyTree,
    *,
    state: PyTree = None,
    length: int | jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    key: jax.Array | None = None,
    checkpoint: Any = None,
    precision: Any = None,
    method: str | None = None,
) -> tuple[PyTree, PyTree]:
    """Runs a cell over one sequence: s_t, y_t = step(params, s_{t-1}, x_t); gives (s_T, y [T, ..]).

    Batching is `jax.vmap`:
    `jax.vmap(functools.partial(rx.unroll, cell), in_axes=(None, 0))(params, xs)`.

    Args:
      cell: a `Cell`, or anything with `init`, `initial_state` and `step`.
      params: what `cell.init` made.
      xs: the inputs, arrays [T, ...].
      state: the state before the first step; `cell.initial_state(params)` by default. The state
        that one call returns can start the next (truncated BPTT, streaming).
      length: how many of the T steps are valid, in [0, T]; all by default. Past it the state is
        held and the outputs are zero, and what `xs` holds there changes neither a result nor a
        gradient. Length 0 returns the starting state. One that is traced, as in `jax.vmap`, cannot
        be checked, and counts as the nearest in [0, T].
      resets: booleans [T]; True where a new sequence begins (packed data): the state is set to the
        initial one (not to `state`) before that step.
      reverse: runs from the last valid step down to the first. The outputs stay at their own time
        steps, and the returned state is that after step 0. Sequences in packed data keep apart.
      key: split into one key a step for `cell.step`; consumed. None is deterministic.
      checkpoint: what of the forward pass to keep for the backward one, as in `rx.scan`.
      precision: of matrix products; "BF16_BF16_F32" is mixed precision, as in `rx.scan`.
      method: "associative" for all steps at once where the cell is linear in its state, as in
        `rx.scan`: `rx.lru`, `rx.rg_lru`, `rx.min_gru`, `rx.min_lstm`, `rx.s4d`, `rx.s5`.

    Returns:
      `(state, ys)`: the state after the last valid step, and the outputs, zero past `length`.

    Raises:
      TypeError: `cell` is no cell; params are missing; the state's structure or a dtype drifts.
      ValueError: no time axis, or axes of unequal length; `length` out of range; `resets` of
        another shape; a state's shape drifts.
    """
    cell = as_cell(cell)
    steps = time_steps(xs)
    _check_params(cell, params)
    initial = cell.initial_state(params)
    if state is None:
        state = initial
    else:
        check_state(f"{cell}", state, initial, dtypes=True)
    valid, xs = mask_padding(xs, length, repeat_first=True)
    starts = _starts(resets, valid, steps, reverse)
    keys = None if key is None else split_key(f"{cell}", key, steps)

    def body(carry, inputs):
        x, is_valid, is_start, step_key = inputs
        before = carry if is_start is None else _select(is_start, initial, carry)
        after, y = check_result(f"{cell}", cell.step(params, before, x, step_key))
        check_same_state(str(cell), carry, after)
        if is_valid is not None:
            after = _select(is_valid, after, carry)
            y = jax.tree.map(lambda leaf: jnp.where(is_valid, leaf, jnp.zeros_like(leaf)), y)
        return after, y

    return scan(
        body,
        state,
        (xs, valid, starts, keys),
        length=steps,
        reverse=reverse,
        checkpoint=checkpoint,
        precision=precision,
        method=method,
    )


def _select(predicate: jax.Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    return jax.tree.map(functools.partial(jnp.where, predicate), on_true, on_false)


def time_steps(xs: PyTree) -> int:
    """T, the common leading axis of every leaf of `xs`."""
    leaves = jax.tree_util.tree_leaves_with_path(xs)
    if not leaves:
        raise ValueError("xs: expected at least one array with a time axis, got none")
    shapes = {f"xs{jax.tree_util.keystr(path)}": jnp.shape(leaf) for path, leaf in leaves}
    for name, shape in shapes.items():
        if not shape:
            raise ValueError(f"{name}: expected a leading time axis [T, ...], got a scalar")
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(f"xs: all leaves need the same number of time steps, got {shapes}")
    return next(iter(shapes.values()))[0]


def _check_params(cell: Any, params: PyTree) -> None:
    # A module that can be called may well be the params of a cell; a function is not.
    if callable(params) and jax.tree_util.all_leaves([params]):
        raise TypeError(
            f"params: expected what {cell}.init makes, got {params!r}. "
            f"Call params = cell.init(key, xs[0]) first"
        )


def mask_padding(
    xs: PyTree, length: Any, *, repeat_first: bool = False
) -> tuple[jax.Array | None, PyTree]:
    """Which steps are valid (None: all, as without a `length`), and `xs` with zeros elsewhere.

    The outputs are masked too, but a NaN or an infinity in the padding would still reach the
    weights' gradient as 0 * NaN. So would what a step makes of zeros, if it takes a logarithm or
    divides by a norm: for a step `repeat_first` puts the first input there, where it is valid.
    """
    if length is None:
        return None, xs
    steps = time_steps(xs)
    valid = jnp.arange(steps) < check_length(length, steps)

    def clean(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # keys hold no NaN
            return leaf
        mask = valid.reshape((steps,) + (1,) * (leaf.ndim - 1))
        filling = jnp.zeros_like(leaf[:1])
        if repeat_first:
            filling = jax.lax.stop_gradient(jnp.where(mask[:1], leaf[:1], filling))
        return jnp.where(mask, leaf, filling)

    return valid, jax.tree.map(clean, xs)


def _starts(
    resets: jax.Array | None, valid: jax.Array | None, steps: int, reverse: bool
) -> jax.Array | None:
    """Where the state must be fresh before a step, in the direction that the scan runs."""
    if resets is None:
        return None
    if getattr(resets, "dtype", None) != jnp.bool_:
        raise TypeError(
            f"resets: expected an array of booleans, got {getattr(resets, 'dtype', resets)!r}"
        )
    if resets.shape != (steps,):
        raise ValueError(f"resets: expected shape [T={steps}], got {resets.shape}")
    if not reverse:
        return resets
    if valid is not None:  # what begins in the padding is no next sequence
        resets = resets & valid
    # Backward, a sequence is entered at its last step: the one before the next sequence's first.
    return jnp.append(resets, False)[1:]
