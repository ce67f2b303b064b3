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

from collections.abc import Callable, Set

from recurrax.scan.cut import minimum_cut
from recurrax.scan.graph import Equation, Value, needed, used
from recurrax.scan.kinds import (
    Kind,
    Kinds,
    classify,
    is_cheap,
    is_expanding,
    is_pinned,
    is_product,
    kind_of,
    with_kind,
)
from recurrax.scan.pieces import Split, Step
from recurrax.scan.product import with_rows
from recurrax.scan.rewrite import regroup_sums, split_products
from recurrax.scan.spread import as_spread

# A product leaves the loop although up to so many times more bytes are then stored between: T rows
# at once run several times faster than row by row.
_PRODUCT_WORTH = 16


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
