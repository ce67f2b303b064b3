"""The pieces of a loop, and how they run: once, for all steps before it, in it, and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.scan import _jax
from recurrax.scan.graph import Atom, Equation, Value, read, run, used
from recurrax.scan.kinds import is_pointwise, is_product
from recurrax.scan.spread import widened


class Step(NamedTuple):
    """One step of a loop: (invariants, carry, xs) -> (carry, ys)."""

    equations: list[Equation]
    invariants: tuple[Value, ...]
    carry: tuple[Value, ...]
    xs: tuple[Value, ...]
    carry_out: tuple[Atom, ...]
    ys: tuple[Atom, ...]


class Split(NamedTuple):
    """The pieces of a step."""

    once: list[Equation]  # invariant
    before: list[Equation]  # over all steps, from xs
    loop: Step  # what must be sequential
    after: list[Equation]  # over all steps, from what the loop gave
    step: Step  # the whole


class Loop(NamedTuple):
    """How a loop runs."""

    length: int
    reverse: bool
    unroll: int | bool


def do_once(pieces: Split, invariants: Sequence[Any]) -> dict[Value, Any]:
    """The invariants and all that is computed from them alone."""
    fixed = dict(zip(pieces.step.invariants, invariants, strict=True))
    made = [v for e in pieces.once for v in e.outputs]
    fixed.update(zip(made, run(pieces.once, fixed, made), strict=True))
    return fixed


def run_split(
    pieces: Split,
    fixed: Mapping[Value, Any],
    init: Sequence[Any],
    xs: Sequence[Any],
    loop: Loop,
    run_loop: Callable[..., tuple[list[Any], list[Any]]],
    wrap: Callable[[Callable], Callable] = lambda f: f,
) -> tuple[list[Any], list[Any]]:
    """Runs the pieces: `(carry, ys)` as a scan of the step gives them.

    Args:
      fixed: from `do_once`.
      run_loop: `(step, loop, invariants, init, xs) -> (carry, ys)` for what is left of the loop.
      wrap: applied to the functions that work on all steps.
    """
    step, inner = pieces.step, pieces.loop
    rows: dict[Any, Any] = dict(zip(step.xs, xs, strict=True))
    wanted = [*inner.xs, *used(pieces.after), *step.ys]
    at_once(pieces.before, fixed, rows, wanted, loop, wrap)
    carry, stacks = run_loop(
        inner, loop, [fixed[v] for v in inner.invariants], init, [rows[v] for v in inner.xs]
    )
    rows.update(zip(inner.ys, stacks, strict=True))
    at_once(pieces.after, fixed, rows, step.ys, loop, wrap)
    return carry, [stack_of(fixed, rows, y, loop.length) for y in step.ys]


def at_once(
    equations: list[Equation],
    fixed: Mapping[Value, Any],
    rows: dict[Any, Any],
    wanted: Sequence[Atom],
    loop: Loop,
    wrap: Callable[[Callable], Callable],
) -> None:
    """Runs the equations for all steps and adds what is wanted of them to `rows`."""
    made = {v for e in equations for v in e.outputs}
    outputs = [v for v in dict.fromkeys(wanted) if v in made]
    if not outputs:
        return
    reads = used(equations)
    shared, sliced = [v for v in reads if v in fixed], [v for v in reads if v in rows]

    def all_steps(shared_values, sliced_values):
        env: dict[Any, Any] = dict(zip(sliced, sliced_values, strict=True))
        once = dict(zip(shared, shared_values, strict=True))
        for equation in equations:
            results = _over_steps(equation, once, env, loop.length)
            env.update(zip(equation.outputs, results, strict=True))
        return [env[v] for v in outputs]

    results = wrap(all_steps)([fixed[v] for v in shared], [rows[v] for v in sliced])
    rows.update(zip(outputs, results, strict=True))


def _over_steps(
    equation: Equation, once: Mapping[Value, Any], rows: Mapping[Value, Any], length: int
) -> list[Any]:
    """One equation for all steps, results [T, ...].

    One by one, as many of JAX's batching rules move the axis of a batch to the front, where it
    would stay for all that follows: `time_first` puts it back behind T.
    """
    values, axes = [], []
    shape = equation.outputs[0].aval.shape
    for atom in equation.inputs:
        if isinstance(atom, Value) and atom in rows:
            value, axis = rows[atom], 0
            if shape and not atom.aval.shape and is_pointwise(equation):
                value = widened(value, shape)
        else:
            value, axis = read(once, atom), None
        values.append(value)
        axes.append(axis)
    results = jax.vmap(equation.run, (axes,), axis_size=length)(values)
    return [_jax.time_first(result) for result in results]


def stack_of(fixed: Mapping[Value, Any], rows: dict[Value, Any], y: Atom, length: int) -> Any:
    """An output of every step: of `rows`, or one for all steps."""
    if isinstance(y, Value) and y in rows:
        return rows[y]
    value = jnp.asarray(read(fixed, y))
    return jnp.broadcast_to(value, (length, *value.shape))


def plain_scan(
    step: Step,
    loop: Loop,
    invariants: Sequence[Any],
    init: Sequence[Any],
    xs: Sequence[Any],
    *,
    apart: bool = False,
) -> tuple[list[Any], list[Any]]:
    """The step under `jax.lax.scan`.

    Args:
      apart: keep the slicing of xs out of what reads the slices. It pays where a step's results
        are not stored, so that all its pointwise work is one fusion.
    """
    fixed = dict(zip(step.invariants, invariants, strict=True))
    pointwise = {v for e in step.equations if not is_product(e) for v in e.values}
    floats = [v for v in step.xs if v in pointwise and _jax.is_differentiable(v.aval)]

    # A branch on it keeps the slices apart, for XLA does not know that it is never negative.
    count = jnp.int32(0) if apart and floats else None

    def body(carried, x):
        count, carry = carried
        env = {**fixed, **dict(zip(step.carry, carry, strict=True))}
        env.update(zip(step.xs, x, strict=True))
        if count is not None:
            env.update(zip(floats, _jax.apart([env[v] for v in floats], count >= 0), strict=True))
            count = count + 1
        outputs = run(step.equations, env, (*step.carry_out, *step.ys))
        return (count, outputs[: len(carry)]), outputs[len(carry) :]

    start = count, list(init)
    (_, last), ys = jax.lax.scan(body, start, list(xs), loop.length, loop.reverse, loop.unroll)
    return last, ys
