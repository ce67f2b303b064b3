"""Algebra that lets more of a step leave the loop: sums regrouped, products split.

Both keep a value up to the rounding of a sum taken in another order.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from recurrax.scan.graph import Atom, Constant, Equation, Value
from recurrax.scan.kinds import Kind, Kinds, kind_of

_SUMS = frozenset({"add", "add_any"})


def split_products(equations: Sequence[Equation], kinds: Kinds) -> list[Equation]:
    """concatenate([x, h]) @ W becomes x @ W_x + h @ W_h, where x is known before the loop."""
    producer = {v: equation for equation in equations for v in equation.outputs}
    result: list[Equation] = []
    for equation in equations:
        split = None
        if equation.name == "dot_general":
            for side in (0, 1):
                split = split or _split_product(equation, side, producer, kinds)
        result.extend(split or [equation])
    return result


def _split_product(
    equation: Equation, side: int, producer: dict[Value, Equation], kinds: Kinds
) -> list[Equation] | None:
    joined, other = equation.inputs[side], equation.inputs[1 - side]
    contracted, _ = equation.params["dimension_numbers"]
    made_by = producer.get(joined) if isinstance(joined, Value) else None
    cast = None
    if made_by is not None and made_by.name == "convert_element_type":
        cast = made_by
        made_by = producer.get(cast.inputs[0]) if isinstance(cast.inputs[0], Value) else None
    if made_by is None or made_by.name != "concatenate":
        return None
    axis = made_by.params["dimension"]
    if axis not in contracted[side]:
        return None
    other_axis = contracted[1 - side][contracted[side].index(axis)]
    groups = _runs(made_by.inputs, axis, kinds)
    if len(groups) < 2:
        return None
    new: list[Equation] = []
    terms: list[Atom] = []
    for pieces, start, stop in groups:
        part = pieces[0]
        if len(pieces) > 1:
            join = functools.partial(lax.concatenate, dimension=axis)
            part = _append(new, "concatenate", pieces, lambda *a, j=join: j(a), dimension=axis)
        if cast is not None:
            to = cast.params["new_dtype"]
            convert = functools.partial(lax.convert_element_type, new_dtype=to)
            part = _append(new, "convert_element_type", [part], convert, **cast.params)
        take = functools.partial(
            lax.slice_in_dim, start_index=start, limit_index=stop, axis=other_axis
        )
        factor = _append(new, "slice", [other], take)
        factors = (part, factor) if side == 0 else (factor, part)
        out = Value(equation.outputs[0].aval)
        new.append(equation._replace(inputs=factors, outputs=(out,)))
        terms.append(out)
    _sum(new, terms, equation.outputs[0])
    return new


def _runs(pieces: Sequence[Atom], axis: int, kinds: Kinds) -> list[tuple[list[Atom], int, int]]:
    """Neighbouring pieces that all wait for the carry, or that all do not: pieces, start, stop."""
    groups: list[tuple[list[Atom], int, int]] = []
    stop, late = 0, None
    for piece in pieces:
        start, stop = stop, stop + _shape(piece)[axis]
        if late is not (late := kind_of(kinds, piece) == Kind.STATE):
            groups.append(([], start, stop))
        group, first, _ = groups[-1]
        groups[-1] = ([*group, piece], first, stop)
    return groups


def regroup_sums(
    equations: Sequence[Equation], kinds: Kinds, keep: Sequence[Atom]
) -> list[Equation]:
    """(x W + h U) + b becomes (x W + b) + h U: what is known before the loop is summed there.

    Args:
      keep: the outputs of the graph, which must stay to be had.
    """
    producer = {v: equation for equation in equations for v in equation.outputs}
    uses = Counter(v for equation in equations for v in equation.values)
    uses.update(v for v in keep if isinstance(v, Value))
    adders = {e.outputs[0]: e for e in equations if _is_plain_sum(e)}
    inner = {
        v
        for e in adders.values()
        for v in e.values
        if v in adders and uses[v] == 1 and kinds[e.outputs[0]] == Kind.STATE
    }
    result: list[Equation] = []
    for equation in equations:
        out = equation.outputs[0] if equation.outputs else None
        if out in inner:
            continue
        if out in adders:
            leaves = _leaves(equation, inner, producer)
            early = [a for a in leaves if kind_of(kinds, a) != Kind.STATE]
            if len(leaves) > 2 and len(early) > 1 and len(early) < len(leaves):
                early.sort(key=lambda atom: kind_of(kinds, atom), reverse=True)
                late = [a for a in leaves if kind_of(kinds, a) == Kind.STATE]
                known = Value(equation.outputs[0].aval)
                _sum(result, early, known)
                _sum(result, [known, *late], equation.outputs[0])
                continue
            result.extend(_subtree(equation, inner, producer))
            continue
        result.append(equation)
    return result


def _is_plain_sum(equation: Equation) -> bool:
    if equation.name not in _SUMS:
        return False
    out = equation.outputs[0].aval
    return all(
        isinstance(a, Value) and a.aval.shape == out.shape and a.aval.dtype == out.dtype
        for a in equation.inputs
    )


def _leaves(equation: Equation, inner: set[Value], producer: dict[Value, Equation]) -> list[Atom]:
    leaves: list[Atom] = []
    for atom in equation.inputs:
        leaves += _leaves(producer[atom], inner, producer) if atom in inner else [atom]
    return leaves


def _subtree(equation: Equation, inner: set[Value], producer: dict[Value, Equation]):
    for atom in equation.inputs:
        if atom in inner:
            yield from _subtree(producer[atom], inner, producer)
    yield equation


def _sum(equations: list[Equation], terms: Sequence[Atom], out: Value) -> None:
    """Appends the equations of `out` = the sum of two or more terms, from left to right."""
    total = terms[0]
    for i, term in enumerate(terms[1:], start=2):
        partial = out if i == len(terms) else Value(out.aval)
        equations.append(_equation("add", (total, term), partial, lax.add))
        total = partial


def _append(equations: list[Equation], name: str, inputs, function, **params: Any) -> Value:
    out = Value(jax.eval_shape(function, *[_struct(atom) for atom in inputs]))
    equations.append(_equation(name, tuple(inputs), out, function, **params))
    return out


def _equation(name: str, inputs: tuple[Atom, ...], out: Value, function, **params) -> Equation:
    return Equation(name, inputs, (out,), lambda values: [function(*values)], params)


def _shape(atom: Atom) -> tuple[int, ...]:
    return jax.numpy.shape(atom.value) if isinstance(atom, Constant) else atom.aval.shape


def _struct(atom: Atom) -> jax.ShapeDtypeStruct:
    if isinstance(atom, Constant):
        return jax.eval_shape(lambda: jax.numpy.asarray(atom.value))
    return jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)
