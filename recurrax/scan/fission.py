"""Fission: a loop becomes work done once, work for all steps at once, a smaller loop, and the rest.

Every value of a step is invariant, or depends on the step's inputs alone, or on the carry
(`kinds`). The first are computed once, the second for all T steps before the loop, and of the
third those that lead to outputs only after the loop, all T at once. A product over all steps is one
product of T rows.

What the loop then reads and writes is a choice, made by `cut`: cheap work stays in the loop where
its inputs are smaller than its results, and work leaves at the end of the loop where it includes a
product or another expensive operation, and what it starts from is not much larger than its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.scan import _jax
from recurrax.scan.cut import minimum_cut
from recurrax.scan.graph import Atom, Equation, Value, needed, read, run, used
from recurrax.scan.kinds import (
    Kind,
    Kinds,
    classify,
    is_cheap,
    is_expanding,
    is_pinned,
    is_pointwise,
    is_product,
    kind_of,
    with_kind,
)
from recurrax.scan.product import with_rows
from recurrax.scan.rewrite import regroup_sums, split_products
from recurrax.scan.spread import as_spread, widened

# A product leaves the loop although up to so many times more bytes are then stored between: T rows
# at once run several times faster than row by row.
_PRODUCT_WORTH = 16


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


def split(step: Step, summed: Set[Value] = frozenset()) -> Split:
    """Finds the pieces.

    Args:
      summed: invariants that are to be added to work on inputs before the loop, not in it.
    """
    outputs = (*step.carry_out, *step.ys)
    equations = needed(step.equations, outputs)
    kinds = classify(equations, step.invariants, step.carry, step.xs)
    equations = split_products(equations, kinds)
    equations = needed(equations, outputs)
    kinds = classify(equations, step.invariants, step.carry, step.xs)
    equations = regroup_sums(equations, kinds, outputs)
    kinds = classify(equations, step.invariants, step.carry, step.xs)

    late_ys = [y for y in dict.fromkeys(step.ys) if isinstance(y, Value)]
    late_ys = [y for y in late_ys if kinds[y] == Kind.STATE]
    stacked, after = _after(equations, kinds, step.carry_out, late_ys)

    by_state = with_kind(equations, kinds, Kind.STATE)
    loop_out = (*step.carry_out, *stacked)
    core = needed(by_state, loop_out)
    entering = [v for v in used(core, step.carry_out) if kinds[v] == Kind.INPUT]
    by_input = with_kind(equations, kinds, Kind.INPUT)
    loop_xs = minimum_cut(
        by_input,
        entering,
        free=lambda v: kinds[v] == Kind.INVARIANT,
        repeatable=_stays_in_loop(by_input, kinds, summed),
        cost=lambda v: v.bytes * (1 if v in step.xs else 2),
    )
    core = [*needed(by_input, entering, loop_xs), *core]
    by_none = with_kind(equations, kinds, Kind.INVARIANT)
    fixed = [v for v in used(core, loop_out) if kinds[v] == Kind.INVARIANT]
    made_inside = needed([e for e in by_none if is_expanding(e)], fixed)
    core = [*made_inside, *core]
    fixed = [v for v in used(core, loop_out) if kinds[v] == Kind.INVARIANT]

    early_ys = [y for y in step.ys if kind_of(kinds, y) == Kind.INPUT]
    before = needed(by_input, [*loop_xs, *early_ys, *used(after, step.ys)])
    unchanging = [y for y in step.ys if kind_of(kinds, y) == Kind.INVARIANT]
    once = needed(by_none, [*fixed, *used([*before, *after]), *unchanging])
    core = with_rows(core, kinds, only_rounded=True)
    loop = Step(core, tuple(fixed), step.carry, tuple(loop_xs), step.carry_out, tuple(stacked))
    before, after = (_for_all_steps(part, kinds) for part in (before, after))
    return Split(once, before, loop, after, step)


def _for_all_steps(equations: list[Equation], kinds: Kinds) -> list[Equation]:
    return [as_spread(e, kinds) or e for e in with_rows(equations, kinds)]


def _stays_in_loop(
    by_input: list[Equation], kinds: dict[Value, Kind], summed: Set[Value]
) -> Callable[[Equation], bool]:
    """Which of the equations on inputs the loop may do itself.

    The cheap ones; but where b is one of those `summed`, x_t + b is not, unless it takes more bytes
    than x_t.
    """
    size: dict[Value, int] = {}  # of the least from which a value follows by cheap equations
    stays: set[int] = set()
    for e in by_input:
        inputs = [v for v in e.values if kinds[v] == Kind.INPUT]
        least = sum(size.get(v, v.bytes) for v in dict.fromkeys(inputs))
        if is_cheap(e):
            size.update((v, min(v.bytes, least)) for v in e.outputs)
            if summed.isdisjoint(e.values) or sum(v.bytes for v in e.outputs) > least:
                stays.add(id(e))
    return lambda e: id(e) in stays


def _after(
    equations: list[Equation], kinds: dict[Value, Kind], carry_out, ys: list[Value]
) -> tuple[list[Value], list[Equation]]:
    """The values that the loop gives for every step, and what is computed from them after it."""
    by_state = with_kind(equations, kinds, Kind.STATE)
    in_loop = {id(e) for e in needed(by_state, carry_out)}
    movable = {id(e) for e in by_state if id(e) not in in_loop and not is_pinned(e)}
    behind_product: set[Value] = set()
    for e in by_state:
        if id(e) in movable and (is_product(e) or behind_product.intersection(e.values)):
            behind_product.update(e.outputs)

    def cost(value: Value) -> int:
        written = value.bytes * (1 if value in ys else 2)
        return written * (_PRODUCT_WORTH if value in behind_product else 1)

    stacked = minimum_cut(
        by_state,
        ys,
        free=lambda v: kinds[v] != Kind.STATE,
        repeatable=lambda e: id(e) in movable,
        cost=cost,
    )
    after = needed(by_state, ys, stacked)
    if all(is_cheap(e) for e in after):  # in the loop it costs no pass over memory
        return ys, []
    return stacked, after


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
