"""What an equation of a step depends on, and what may be done with it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recurrax.scan import _jax
from recurrax.scan.graph import Atom, Constant, Equation, Value


class Kind(enum.IntEnum):
    """What a value depends on."""

    INVARIANT = 0  # nothing that changes from step to step
    INPUT = 1  # this step's slice of xs, and invariants
    STATE = 2  # the carry


Kinds = Mapping[Value, Kind]

# Repeating one of these costs less than storing its result and reading it again.
# fmt: off
_CHEAP = frozenset({
    "abs", "add", "add_any", "and", "broadcast_in_dim", "clamp", "complex", "concatenate",
    "conj", "convert_element_type", "copy", "copy_p", "empty", "empty2", "eq", "eq_to", "ge",
    "gt", "imag", "integer_pow", "iota", "is_finite", "le", "le_to", "lt", "lt_to", "max",
    "min", "mul", "ne", "neg", "not", "or", "pcast", "pvary", "real", "reduce_precision",
    "reshape", "rev", "scaled", "select_n", "shifted", "sign", "slice", "split", "square",
    "squeeze", "stop_gradient", "sub", "time_first", "transpose", "widened", "xor",
})
# fmt: on
# A loop may make these itself rather than read them: they are written from less than they hold.
_EXPANDING = frozenset({"broadcast_in_dim", "iota", "empty", "empty2", "widened"})
# Of several operands, element by element; a scalar among them is taken for every element.
# fmt: off
_POINTWISE = frozenset({
    "add", "add_any", "and", "atan2", "clamp", "div", "eq", "ge", "gt", "le", "lt", "max", "min",
    "mul", "ne", "nextafter", "or", "pow", "rem", "select_n", "sub", "xor",
})
# fmt: on
# fmt: off
_PRODUCTS = frozenset({
    "columns", "conv_general_dilated", "dot_general", "ragged_dot", "ragged_dot_general", "rows",
})
# fmt: on
# What would change its meaning, or its cost, were it done for all steps at once.
# fmt: off
_PINNED = frozenset({
    "checkpoint", "cond", "custom_lin", "custom_partitioning", "custom_vmap_call", "ffi_call",
    "io_callback", "linear_call", "optimization_barrier", "pallas_call", "pure_callback", "remat",
    "remat2", "rng_bit_generator", "rng_uniform", "scan", "shard_map", "while",
})
# fmt: on


def is_cheap(equation: Equation) -> bool:
    """Whether to repeat the equation rather than to store its result."""
    if equation.name == "integer_pow":
        return abs(equation.params["y"]) <= 4 and equation.params["y"] > 0
    return equation.name in _CHEAP


def is_expanding(equation: Equation) -> bool:
    """Whether the equation only writes its input many times over."""
    return equation.name in _EXPANDING


def is_pointwise(equation: Equation) -> bool:
    """Whether a scalar operand of the equation may as well be an array of the result's shape."""
    return equation.name in _POINTWISE


def is_product(equation: Equation) -> bool:
    """Whether the equation multiplies matrices."""
    return equation.name in _PRODUCTS


def is_pinned(equation: Equation) -> bool:
    """Whether the equation must be run step by step."""
    if equation.name in _PINNED:
        return True
    if equation.name.startswith(("random_", "threefry")) and not all(
        _jax.is_splittable_key(value.aval) for value in equation.values
    ):
        return True
    return any(
        sub.effects or sub_equation.primitive.name in _PINNED
        for sub in _all_subjaxprs(equation.params)
        for sub_equation in sub.eqns
    )


def mentions(equations: Iterable[Equation], prefix: str) -> bool:
    """Whether a primitive whose name starts so is in the equations, at any depth."""
    return any(
        equation.name.startswith(prefix)
        or any(
            sub_equation.primitive.name.startswith(prefix)
            for sub in _all_subjaxprs(equation.params)
            for sub_equation in sub.eqns
        )
        for equation in equations
    )


def _all_subjaxprs(params: Mapping[str, Any]) -> list[Any]:
    found = []
    for sub in _jax.subjaxprs(dict(params)):
        found.append(sub)
        for equation in sub.eqns:
            found.extend(_all_subjaxprs(equation.params))
    return found


def classify(
    equations: Sequence[Equation],
    invariants: Iterable[Value],
    carry: Iterable[Value],
    xs: Iterable[Value],
) -> dict[Value, Kind]:
    """The kind of every value."""
    kinds = dict.fromkeys(invariants, Kind.INVARIANT)
    kinds.update(dict.fromkeys(carry, Kind.STATE))
    kinds.update(dict.fromkeys(xs, Kind.INPUT))
    for equation in equations:
        kind = max((kind_of(kinds, atom) for atom in equation.inputs), default=Kind.INVARIANT)
        if kind == Kind.INPUT and is_pinned(equation):
            kind = Kind.STATE
        kinds.update(dict.fromkeys(equation.outputs, kind))
    return kinds


def kind_of(kinds: Kinds, atom: Atom) -> Kind:
    """The kind of a value or constant."""
    return Kind.INVARIANT if isinstance(atom, Constant) else kinds[atom]


def with_kind(equations: Iterable[Equation], kinds: Kinds, kind: Kind) -> list[Equation]:
    """The equations whose outputs are of a kind."""
    return [e for e in equations if e.outputs and kinds[e.outputs[0]] == kind]
