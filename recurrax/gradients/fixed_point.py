"""A recurrence run until it stands still, and its gradient without a look back at the way there."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count, check_number
from recurrax.core import PyTree, as_cell, check_same_state, check_state
from recurrax.gradients.bounds import norm_of


class FixedPoint(NamedTuple):
    """Where a recurrence came to rest; see `fixed_point`.

    Attributes:
      state: s*.
      output: y of the step from s*.
      residual: |step(s*) - s*| / (1 + |s*|).
      steps: how many steps were taken.
      converged: whether the residual is within the tolerance. If not, gradients are NaN.
    """

    state: PyTree
    output: PyTree
    residual: jax.Array
    steps: jax.Array
    converged: jax.Array


def fixed_point(
    cell: Any,
    params: PyTree,
    x: PyTree,
    *,
    state: PyTree = None,
    tolerance: float = 1e-5,
    max_steps: int = 1000,
) -> FixedPoint:
    """Runs a cell on one input until its state no longer changes, and differentiates the rest.

        s* = f(params, s*, x),    f the cell's step
        ds* = (I - A)^{-1} (df/dparams dparams + df/dx dx),    A = df/ds at s*

    The gradient is that of the implicit function theorem: it needs s* alone, so that memory does
    not grow with the steps, and it is that of the limit, not of the steps that were taken. The
    system is solved by iteration as well, u <- v + A^T u, which converges at the rate at which the
    steps did. Forward mode, reverse mode and their nestings hold. The starting state has no
    influence on s*, and its gradient is 0.

    Nothing fails in silence: `converged` and `residual` say whether s* is one; where it is not, or
    where the derivative's own iteration does not get below the tolerance in `max_steps`, the
    derivative is NaN (which `rx.clipped` skips and counts).

    Args:
      cell: any cell whose state is floating; it converges for certain where its step contracts.
      params: what `cell.init` made.
      x: the one input of all steps; None for a step that takes none.
      state: where to start; `cell.initial_state(params)` by default.
      tolerance: of the residual, forward and backward; positive, and not below the rounding of the
        dtype (about 1e-7 in float32).
      max_steps: at least 1.

    Raises:
      TypeError: `cell` is no cell; the state is not floating.
      ValueError: a tolerance or `max_steps` that is not positive; a step that changes the shape.

    Sources: Almeida, 1987, and Pineda, 1987, for recurrent networks; Bai, Kolter and Koltun, 2019,
    "Deep equilibrium models".

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> babylonian = rx.Cell(lambda k, x: None, lambda p: 1.0, lambda p, s, x: ((s + x / s) / 2, s))
    >>> print(rx.fixed_point(babylonian, None, jnp.array(4.0)).state)
    2.0
    >>> print(jax.grad(lambda x: rx.fixed_point(babylonian, None, x).state)(4.0))  # 1 / (2 sqrt x)
    0.25
    """
    name = "fixed_point"
    cell = as_cell(cell)
    check_number(name, "tolerance", tolerance)
    check_count(name, "max_steps", max_steps)
    initial = cell.initial_state(params)
    if state is not None:
        check_state(name, state, initial, dtypes=True)
    start = initial if state is None else state
    for leaf in jax.tree.leaves(start):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name}: every leaf of the state must be floating, got {jnp.result_type(leaf)}"
            )
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), start)

    def advance(state):
        after = cell.step(params, state, x)[0]
        check_same_state(name, state, after)
        return after

    def gap(state):
        return jax.tree.map(jnp.subtract, state, advance(state))

    def solve(_, start):
        found, *report = _iterate(advance, start, tolerance, max_steps, 1.0)
        # As floats: custom_root takes no others beside the root.
        return found, [jnp.asarray(value, report[0].dtype) for value in report]

    def solve_tangent(linear, target):
        def iterate(linear, target):
            def improve(guess):
                return jax.tree.map(lambda g, t, m: g + t - m, guess, target, linear(guess))

            found, *_, good = _iterate(improve, target, tolerance, max_steps, 0.0)
            return jax.tree.map(lambda leaf: jnp.where(good, leaf, jnp.nan), found)

        return jax.lax.custom_linear_solve(linear, target, iterate, iterate)

    found, (residual, steps, converged) = jax.lax.custom_root(
        gap, start, solve, solve_tangent, has_aux=True
    )
    found = jax.tree.map(lambda leaf: _if(converged > 0, leaf), found)
    output = cell.step(params, found, x)[1]
    return FixedPoint(found, output, residual, steps.astype(jnp.int32), converged > 0)


def _iterate(advance, start: PyTree, tolerance: float, max_steps: int, floor: float):
    """The state, its residual |advance(s) - s| / (floor + |s|), steps, whether that is small."""

    def measured(state, steps):
        after = advance(state)
        change = norm_of(jax.tree.leaves(jax.tree.map(jnp.subtract, after, state)))
        size = floor + norm_of(jax.tree.leaves(state))
        return state, after, change / jnp.maximum(size, jnp.finfo(size.dtype).tiny), steps

    def goes_on(carry):
        _, _, residual, steps = carry
        return (residual > tolerance) & (steps < max_steps)  # NaN ends it too

    def further(carry):
        _, after, _, steps = carry
        return measured(after, steps + 1)

    first = measured(start, jnp.zeros((), jnp.int32))
    state, _, residual, steps = jax.lax.while_loop(goes_on, further, first)
    return state, residual, steps, residual <= tolerance


@jax.custom_jvp
def _if(good: jax.Array, leaf: jax.Array) -> jax.Array:
    """`leaf`, whose derivative is NaN where it is not good."""
    return leaf


@_if.defjvp
def _if_jvp(primals, tangents):
    good, leaf = primals
    return leaf, tangents[1] * jnp.where(good, 1, jnp.nan).astype(leaf.dtype)
