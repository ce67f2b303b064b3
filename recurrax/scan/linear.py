"""Linear recurrences in O(log T) rounds: s_t = A_t * s_{t-1} + B_t by an associative scan.

Two steps of a linear recurrence are one, (A_2 A_1, A_2 B_1 + B_2), and this joining is associative:
all T states follow in O(log T) rounds of work on whole sequences (Blelloch, 1990; Martin and Cundy,
2018). The sequence is divided into blocks, which are joined side by side, and what the blocks come
to is a shorter sequence of the same kind. A and B are found in the step as it is written (`affine`)
and computed for all steps at once.

Leaves of the state that depend on each other are solved together, with small matrices A for every
element; where the dependence goes one way only they are solved one after the other, and the later
may depend on the earlier in any way.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.scan import _jax
from recurrax.scan.affine import NotAffineError, coefficients
from recurrax.scan.graph import Atom, Equation, Value, needed, run, used
from recurrax.scan.kinds import Kind, classify, is_pinned, with_kind
from recurrax.scan.pieces import Loop, at_once, stack_of
from recurrax.scan.product import with_rows
from recurrax.scan.trace import Call


def associative(call: Call) -> tuple[list[Any], list[Any]]:
    """The `(carry, ys)` of a scan whose step is affine in its state, element by element.

    They agree with a loop's up to rounding; in half precision the recurrence is summed in float32.
    The products of A over many steps are formed: they may vanish, but must not overflow. A zero of
    A cuts off what was before, whatever it was, as a reset does.

    Raises:
      ValueError: a leaf is not affine in itself; it names the operation that is not.
    """
    step, loop = call.step, call.loop
    init = dict(zip(step.carry, call.init, strict=True))
    outputs = dict(zip(step.carry, step.carry_out, strict=True))

    fixed: dict[Any, Any] = dict(zip(step.invariants, call.invariants, strict=True))
    fixed.update((v, init[v]) for v, out in outputs.items() if v is out)
    rows: dict[Any, Any] = dict(zip(step.xs, call.xs, strict=True))
    changing = [v for v in step.carry if v not in fixed]
    equations = needed(step.equations, (*step.carry_out, *step.ys))
    once = with_kind(equations, classify(equations, fixed, changing, step.xs), Kind.INVARIANT)
    made = [v for e in once for v in e.outputs]
    fixed.update(zip(made, run(once, fixed, made), strict=True))

    final = {v: fixed[v] for v in step.carry if v in fixed}
    for leaves in components(equations, changing, outputs):
        news = [outputs[v] for v in leaves]
        try:
            after = _solve(equations, fixed, rows, leaves, news, init, loop)
        except NotAffineError as error:
            types = " and ".join(v.aval.str_short() for v in leaves)
            raise _refusal(f"{error}, for the carry's leaf {types}") from None
        for leaf, states in zip(leaves, after, strict=True):
            rows[leaf], final[leaf] = _before(init[leaf], states, loop.reverse)
        for new, states in zip(news, after, strict=True):
            if isinstance(new, Value) and new not in fixed:
                rows.setdefault(new, states)
    try:
        _fill(equations, fixed, rows, step.ys, loop)
    except NotAffineError as error:
        raise _refusal(f"{error}, for the outputs") from None
    return [final[v] for v in step.carry], [stack_of(fixed, rows, y, loop.length) for y in step.ys]


def _refusal(why: str) -> ValueError:
    return ValueError(
        f'method: "associative" is for linear recurrences, s_t = A_t * s_{{t-1}} + B_t element by '
        f"element, with A and B independent of the state; in this step {why}. Without a method it "
        f"runs step by step"
    )


def components(
    equations: Iterable[Equation], carry: Sequence[Value], outputs: Mapping[Value, Atom]
) -> list[list[Value]]:
    """The leaves in groups that depend on each other, a group after those that it depends on."""
    reads: dict[Value, set[Value]] = {leaf: {leaf} for leaf in carry}
    for e in equations:
        found = set().union(*(reads.get(v, set()) for v in e.values))
        reads.update(dict.fromkeys(e.outputs, found))
    reach: dict[Value, set[Value]] = {
        leaf: {leaf, *(reads.get(out, set()) if isinstance(out, Value) else ())}
        for leaf, out in outputs.items()
        if leaf in reads
    }
    for middle in carry:
        for leaf in carry:
            if middle in reach[leaf]:
                reach[leaf] |= reach[middle]
    groups: dict[frozenset[Value], list[Value]] = {}
    for leaf in carry:  # those who reach the same leaves reach each other
        groups.setdefault(frozenset(reach[leaf]), []).append(leaf)
    return [groups[reached] for reached in sorted(groups, key=len)]


def _solve(
    equations: Sequence[Equation],
    fixed: Mapping[Value, Any],
    rows: dict[Any, Any],
    leaves: list[Value],
    news: list[Atom],
    init: Mapping[Value, Any],
    loop: Loop,
) -> list[Any]:
    """What each leaf is after every step, [T, ...]; `rows` has all that they depend on besides."""
    late = _fill(equations, fixed, rows, news, loop, leaves)
    if not late and not any(leaf in news for leaf in leaves):
        return [stack_of(fixed, rows, new, loop.length) for new in news]
    reads = used(late, news)
    shared, sliced = [v for v in reads if v in fixed], [v for v in reads if v in rows]

    def one_step(shared_values, sliced_values):
        known = dict(zip(shared, shared_values, strict=True))
        known.update(zip(sliced, sliced_values, strict=True))
        return coefficients(late, known, leaves, news)

    matrix, offset = jax.vmap(one_step, (None, 0), axis_size=loop.length)(
        [fixed[v] for v in shared], [rows[v] for v in sliced]
    )
    wide = jnp.result_type(*offset)

    def begun(first: Any, stack: Any) -> Any:
        """With the state before the loop as a step of its own: A = 0, B = init."""
        return _joined(jnp.asarray(first, wide), stack.astype(wide), loop.reverse)

    matrix = [[begun(jnp.zeros(a.shape[1:], wide), a) for a in row] for row in matrix]
    offset = [begun(init[leaf], b) for leaf, b in zip(leaves, offset, strict=True)]
    solve = recurrence if jnp.issubdtype(wide, jnp.inexact) else _recurrence
    states = solve(loop.reverse, matrix, offset)
    after = [s[:-1] if loop.reverse else s[1:] for s in states]
    return [s.astype(leaf.aval.dtype) for s, leaf in zip(after, leaves, strict=True)]


def _fill(
    equations: Sequence[Equation],
    fixed: Mapping[Value, Any],
    rows: dict[Any, Any],
    targets: Sequence[Atom],
    loop: Loop,
    leaves: Sequence[Value] = (),
) -> list[Equation]:
    """Computes for all steps at once what the targets need; gives back what waits for `leaves`."""
    pending = needed(equations, targets, {*fixed, *rows})
    kinds = classify(pending, fixed, leaves, rows)
    for e in pending:
        if is_pinned(e):
            raise NotAffineError(f"{e.name} must be run step by step")
    early = with_kind(pending, kinds, Kind.INPUT)
    late = with_kind(pending, kinds, Kind.STATE)
    at_once(with_rows(early, kinds), fixed, rows, [*used(late), *targets], loop, lambda f: f)
    return late


def _joined(first: Any, stack: Any, reverse: bool) -> Any:
    """A stack with one more step, at the end where the loop begins."""
    return jnp.concatenate([stack, first[None]] if reverse else [first[None], stack])


def _before(start: Any, after: Any, reverse: bool) -> tuple[Any, Any]:
    """The states before every step, and the last one."""
    every = _joined(jnp.asarray(start), after, reverse)
    return (every[1:], every[0]) if reverse else (every[:-1], every[-1])


Matrix = list[list[Any]]  # [K, K] of stacks [T, ...]


# Steps in a block, and rounds for each factor of as many in T. Rounds over the whole sequence, of
# which there are log2(T), take XLA minutes to compile where T is 20,000.
_BLOCK = 16


def _recurrence(reverse: bool, matrix: Matrix, offset: list[Any]) -> list[Any]:
    leaves, treedef = jax.tree.flatten((matrix, offset))
    elements = jax.tree.unflatten(treedef, _jax.same_variation(*leaves))
    steps = offset[0].shape[0]
    if steps <= _BLOCK:
        return jax.lax.associative_scan(_join, elements, reverse=reverse)[1]
    blocks = -(-steps // _BLOCK)
    # Where the loop begins: with A = B = 0 the state stays zero until the first step.
    fill = (0, blocks * _BLOCK - steps) if reverse else (blocks * _BLOCK - steps, 0)

    def divided(stack: Any) -> Any:  # [T, ...] to [_BLOCK, blocks, ...]
        stack = jnp.pad(stack, (fill, *[(0, 0)] * (stack.ndim - 1)))
        return jnp.swapaxes(stack.reshape(blocks, _BLOCK, *stack.shape[1:]), 0, 1)

    def whole(stack: Any) -> Any:
        stack = jnp.swapaxes(stack, 0, 1).reshape(blocks * _BLOCK, *stack.shape[2:])
        return stack[:steps] if reverse else stack[fill[0] :]

    def join(before: Any, element: Any) -> Any:
        total = _join(before, element)
        return total, total

    elements = jax.tree.map(divided, elements)
    first = jax.tree.map(lambda stack: stack[-1 if reverse else 0], elements)
    rest = jax.tree.map(lambda stack: stack[:-1] if reverse else stack[1:], elements)
    total, inside = jax.lax.scan(join, first, rest, reverse=reverse)
    a, b = jax.tree.map(functools.partial(_joined, reverse=reverse), first, inside)
    entering = [_before(jnp.zeros_like(s[0]), s, reverse)[0] for s in _recurrence(reverse, *total)]
    return [whole(x + y) for x, y in zip(_product(a, entering), b, strict=True)]


def _join(first: tuple[Matrix, list[Any]], second: tuple[Matrix, list[Any]]) -> Any:
    (a1, b1), (a2, b2) = first, second
    columns = [_product(a2, list(column)) for column in zip(*a1, strict=True)]
    offset = [x + y for x, y in zip(_product(a2, b1), b2, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)], offset


def _product(matrix: Matrix, vector: list[Any]) -> list[Any]:
    """Where A is zero the product is, even if the state is not finite: a reset cuts off all."""
    terms = [
        [jnp.where(a == 0, jnp.zeros_like(s), a * s) for a, s in zip(row, vector, strict=True)]
        for row in matrix
    ]
    return [functools.reduce(jnp.add, row) for row in terms]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrence(reverse: bool, matrix: Matrix, offset: list[Any]) -> list[Any]:
    """s_t = A_t s_{t-1} + B_t from s_0 = 0, all [T, ...]; A is K x K and s and B K such stacks.

    The derivative ds_t = A_t ds_{t-1} + (dA_t s_{t-1} + dB_t) is the same recurrence, of which A
    and s are kept; transposed it is the one that runs the other way.
    """
    return _recurrence(reverse, matrix, offset)


@recurrence.defjvp
def _recurrence_jvp(reverse, primals, tangents):
    (matrix, offset), (d_matrix, d_offset) = primals, tangents
    states = recurrence(reverse, matrix, offset)
    before = [_before(jnp.zeros_like(s[0]), s, reverse)[0] for s in states]
    d_offset = [
        functools.reduce(jnp.add, [d_b, *map(_cut_product, row, d_row, before)])
        for d_b, row, d_row in zip(d_offset, matrix, d_matrix, strict=True)
    ]
    again = jax.checkpoint(functools.partial(recurrence, reverse), prevent_cse=False)
    return states, again(matrix, d_offset)


def _cut_product(a: Any, d_a: Any, state: Any) -> Any:
    """dA s, where a zero of A keeps what is not finite out of the derivative too."""
    return d_a * jnp.where((a == 0) & ~jnp.isfinite(state), jnp.zeros_like(state), state)
