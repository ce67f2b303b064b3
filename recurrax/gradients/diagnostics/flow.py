"""How large the gradient is at every step, in every gate, and in every parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count
from recurrax.compose.rates import is_inexact
from recurrax.core import Cell, PyTree, as_cell
from recurrax.gradients.bounds import wide_norm_of
from recurrax.gradients.diagnostics.gates import watched_step
from recurrax.scan.unroll import time_steps, unroll


class GradientFlow(NamedTuple):
    """Norms of the gradients of a loss L; see `gradient_flow`.

    Attributes:
      loss: L.
      total: |dL/ds_t| for t = 0 (before the first step) to T, [T + 1].
      state: the same for each leaf of the state alone, a tree of [T + 1].
      gates: |dL/da_t| for t = 1 to T, [T], a_t being what goes into a gate: by its name, as in
        `gate_saturation`.
      params: |dL/dw| of each leaf w.
    """

    loss: jax.Array
    total: jax.Array
    state: PyTree
    gates: dict[str, jax.Array]
    params: PyTree


def gradient_flow(
    cell: Any,
    params: PyTree,
    xs: PyTree,
    loss: Callable[[PyTree, PyTree], jax.Array],
    *,
    state: PyTree = None,
    length: int | jax.Array | None = None,
    resets: jax.Array | None = None,
    key: jax.Array | None = None,
) -> GradientFlow:
    """The norms of dL/ds_t at every step and of what it leads to: one backward pass.

        L = loss(s_T, y),    (s_T, y) = rx.unroll(cell, params, xs, ...)

    dL/ds_t is the whole derivative, through all later steps and through what the loss takes of s_t
    directly. So how far gradients reach is to be seen with a loss of the last step alone; one of
    all steps hides that they vanish. `gradient_warning` and `memory_length` read `total`, whose
    last entry is what L takes of s_T itself: 0 for a loss of outputs alone.

    Norms hold what a gradient's squares would not, 1e-30 as well as 1e30. A state's leaves that are
    not floating have gradients of 0; so have states past `length`, which are held, not handed on.

    Args:
      cell: any cell.
      params: what `cell.init` made.
      xs: the inputs, arrays [T, ...].
      loss: `(state, ys) -> a scalar`.
      state, length, resets, key: as in `rx.unroll`.

    Raises:
      TypeError: `cell` is no cell; the loss is no scalar. ValueError: no steps.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> half = rx.Cell(lambda k, x: 0.5, lambda p: jnp.zeros(()), lambda p, s, x: (p * s + x, s))
    >>> flow = rx.gradient_flow(half, 0.5, jnp.ones(3), lambda state, ys: state)
    >>> print(flow.total)
    [0.125 0.25  0.5   1.   ]
    """
    cell = as_cell(cell)
    start = cell.initial_state(params) if state is None else state
    steps = time_steps(xs)
    if steps == 0:
        raise ValueError("gradient_flow: xs must have at least one step, got none")
    gates = jax.eval_shape(functools.partial(_gates, cell), params, start, xs, key)

    def step(params, state, inputs, key=None):
        x, (nudge, into_gates) = inputs
        state, y, _ = watched_step(cell, params, state, x, key, into_gates)
        return _add(state, nudge), y

    nudged = Cell(cell.init, cell.initial_state, step, str(cell))

    def value(params, nudges):
        first_nudge, later = nudges
        result = unroll(
            nudged,
            params,
            (xs, later),
            state=_add(start, first_nudge),
            length=length,
            resets=resets,
            key=key,
        )
        return loss(*result)

    zeros = jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), gates)
    nothing = [jnp.zeros_like(leaf) for leaf in jax.tree.leaves(start) if is_inexact(leaf)]
    later = [jnp.zeros((steps, *leaf.shape), leaf.dtype) for leaf in nothing]
    found, (of_params, (of_first, (of_later, of_gates))) = jax.value_and_grad(value, (0, 1))(
        params, (nothing, (later, zeros))
    )
    every = [jnp.concatenate([a[None], b]) for a, b in zip(of_first, of_later, strict=True)]
    over_time = jax.vmap(lambda leaves: wide_norm_of(jax.tree.leaves(leaves)))
    norms = iter([over_time(leaf) for leaf in every])
    nowhere = jnp.zeros(steps + 1)
    return GradientFlow(
        loss=found,
        total=over_time(every),
        state=jax.tree.map(lambda leaf: next(norms) if is_inexact(leaf) else nowhere, start),
        gates={name: over_time(leaf) for name, leaf in of_gates.items()},
        params=jax.tree.map(lambda leaf: wide_norm_of([leaf]), of_params),
    )


def gate_norms(gradients: PyTree, features: int) -> PyTree:
    """The norm of each gate's part of a gradient: what |dL/dw| is made of.

    Parameters hold their gates side by side in the last axis, `LSTMParams.w_h` [H, 4H] in the
    order i, f, g, o. A leaf [..., nH] becomes [n]; one whose last axis H does not divide, [1].

    Args:
      gradients: a tree of arrays, such as the gradient of the params.
      features: H.

    Raises:
      TypeError, ValueError: `features` is no positive int.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> print(rx.gate_norms(jnp.array([3.0, 4.0, 0.0, 2.0]), 2))
    [5. 2.]
    """
    check_count("gate_norms", "features", features)

    def norms(leaf: jax.Array) -> jax.Array:
        leaf = jnp.atleast_1d(leaf)
        width = leaf.shape[-1] if leaf.shape[-1] % features else features
        gates = jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], -1, width), -2, 0)
        return jax.vmap(lambda gate: wide_norm_of([gate]))(gates)

    return jax.tree.map(norms, gradients)


def _gates(cell: Cell, params: PyTree, state: PyTree, xs: PyTree, key: Any) -> dict:
    """What goes into the gates at one step."""
    x = jax.tree.map(lambda leaf: leaf[0], xs)
    gates = watched_step(cell, params, state, x, key, None)[2]
    return {name: value for name, (_, value) in gates.items()}


def _add(state: PyTree, nudge: list[jax.Array]) -> PyTree:
    """The state with a list of nudges added to its floating leaves."""
    nudges = iter(nudge)
    return jax.tree.map(lambda leaf: leaf + next(nudges) if is_inexact(leaf) else leaf, state)
