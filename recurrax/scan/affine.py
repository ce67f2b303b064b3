"""Which values of a step are affine in its state, element by element, and with which coefficients.

    v_i = sum_k A_k,i s_k,i + B_i    over the leaves s_k of the state

A and B do not depend on the state, so that those of all steps can be computed at once. They are
found by following the step's equations: one that is linear in what depends on the state is applied
to every coefficient, and to the offset, in place of the value. Which element of a leaf each element
of a value stands for is followed too, by moving their numbers as the equations move the elements.

In half precision coefficients are computed in float32: a decay of 0.999 would be rounded to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.scan import _jax
from recurrax.scan.graph import Atom, Constant, Equation, Value, read
from recurrax.scan.kinds import is_pinned

# Linear in all of their inputs together.
# fmt: off
_LINEAR = frozenset({
    "add", "add_any", "complex", "conj", "convert_element_type", "copy", "copy_p", "imag", "neg",
    "pcast", "pvary", "real", "reduce_precision", "sub",
})
# Linear too, and they move elements.
_MOVING = frozenset({
    "broadcast_in_dim", "concatenate", "expand_dims", "reshape", "rev", "slice", "split", "squeeze",
    "transpose",
})
# fmt: on
_OFFSET = -1  # stands among the leaves for B


class Affine(NamedTuple):
    """`terms`: the coefficient of each leaf, by its number, and the offset; what is not there is 0.
    `places`: by leaf, which of its elements each element of the value depends on, or -1 for none.
    """

    terms: dict[int, Any]
    places: dict[int, np.ndarray]


class NotAffineError(Exception):
    """Says why a step is not affine in its state."""


def coefficients(
    equations: Sequence[Equation],
    known: Mapping[Value, Any],
    leaves: Sequence[Value],
    outputs: Sequence[Atom],
) -> tuple[list[list[Any]], list[Any]]:
    """A [K, K] and B [K] of a step of K leaves: the outputs are A s + B, for every element apart.

    Args:
      equations: those that depend on the leaves.
      known: all other values that they read.

    Raises:
      NotAffineError: the step is not of this form.
    """
    check_leaves(leaves)
    forms: dict[Value, Affine] = {}
    for k, leaf in enumerate(leaves):
        shape, dtype = leaf.aval.shape, leaf.aval.dtype
        numbers = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
        forms[leaf] = Affine({k: jnp.ones(shape, _wide(dtype))}, {k: numbers})
    for equation in equations:
        forms.update(zip(equation.outputs, _follow(equation, known, forms, leaves), strict=True))
    rows = [_form(atom, known, forms) for atom in outputs]
    for leaf, form in zip(leaves, rows, strict=True):
        in_place = np.arange(np.prod(leaf.aval.shape, dtype=int)).reshape(leaf.aval.shape)
        for numbers in form.places.values():
            if not np.all((numbers == in_place) | (numbers < 0)):
                raise NotAffineError("an element of the new state depends on another element")

    def dense(leaf: Value, form: Affine, key: int) -> Any:
        shape, dtype = leaf.aval.shape, _wide(leaf.aval.dtype)
        value = form.terms.get(key)
        return jnp.zeros(shape, dtype) if value is None else jnp.broadcast_to(value, shape)

    pairs = list(zip(leaves, rows, strict=True))
    matrix = [[dense(leaf, form, k) for k in range(len(leaves))] for leaf, form in pairs]
    return matrix, [dense(leaf, form, _OFFSET) for leaf, form in pairs]


def check_leaves(leaves: Sequence[Value]) -> None:
    """Raises where coefficients of these leaves could not be stored or would not fit together."""
    for leaf in leaves:
        if jnp.issubdtype(leaf.aval.dtype, jax.dtypes.extended):
            raise NotAffineError(f"there are no sums of {leaf.aval.dtype}")
    shapes = dict.fromkeys(leaf.aval.shape for leaf in leaves)
    if len(shapes) > 1:
        raise NotAffineError(f"leaves that depend on each other have the shapes {[*shapes]}")


def _form(atom: Atom, known: Mapping[Value, Any], forms: Mapping[Value, Affine]) -> Affine:
    if isinstance(atom, Value) and atom in forms:
        return forms[atom]
    value = jnp.asarray(read(known, atom))
    return Affine({_OFFSET: value.astype(_wide(value.dtype))}, {})


def _wide(dtype: Any) -> Any:
    """Float32 for half-precision types."""
    is_half = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if is_half else dtype


def _run(equation: Equation, values: Sequence[Any]) -> list[Any]:
    if equation.name == "convert_element_type":
        return [jax.lax.convert_element_type(values[0], _wide(equation.params["new_dtype"]))]
    return equation.run(values)


def _follow(
    equation: Equation,
    known: Mapping[Value, Any],
    forms: Mapping[Value, Affine],
    leaves: Sequence[Value],
) -> list[Affine]:
    """The outputs of an equation that depends on the state."""
    depends = [isinstance(atom, Value) and atom in forms for atom in equation.inputs]
    linear = _linear_inputs(equation, depends)
    operands = [_form(atom, known, forms) for atom in equation.inputs]
    keys = dict.fromkeys(key for i in linear for key in operands[i].terms)
    used = [leaves[key] for key in keys if key != _OFFSET]
    _check_dtypes(equation, used)

    terms: list[dict[int, Any]] = [{} for _ in equation.outputs]
    for key in keys:
        values = [
            operand.terms.get(key, _zero(atom)) if i in linear else operand.terms[_OFFSET]
            for i, (operand, atom) in enumerate(zip(operands, equation.inputs, strict=True))
        ]
        for out, value in zip(terms, _run(equation, _jax.same_variation(*values)), strict=True):
            out[key] = value

    places: list[dict[int, np.ndarray]] = [{} for _ in equation.outputs]
    for key in keys:
        if key != _OFFSET:
            numbers = [operands[i].places.get(key) for i in linear]
            moved = _moved if equation.name in _MOVING else _merged
            for out, place in zip(places, moved(equation, numbers), strict=True):
                out[key] = place
    return [Affine(*pair) for pair in zip(terms, places, strict=True)]


def _linear_inputs(equation: Equation, depends: Sequence[bool]) -> list[int]:
    """In which inputs together the equation is linear, where the others are known."""
    name, every = equation.name, list(range(len(depends)))
    if is_pinned(equation):
        raise NotAffineError(f"{name} is applied to the state")
    is_bool = equation.outputs[0].aval.dtype == bool
    if name in _LINEAR or name in _MOVING or (name == "or" and is_bool):
        return every
    if name == "mul" or (name == "and" and is_bool):  # `or` and `and` are sum and product of bools
        if all(depends):
            raise NotAffineError(f"{name} is applied to two values that depend on the state")
        return [depends.index(True)]
    if name == "div" and not depends[1]:
        return [0]
    if name == "div":
        raise NotAffineError("div is by a value that depends on the state")
    if name == "select_n" and not depends[0]:
        return every[1:]
    if name == "select_n":
        raise NotAffineError("select_n is by a predicate that depends on the state")
    if name == "integer_pow" and equation.params["y"] == 1:
        return every
    raise NotAffineError(f"{name} is applied to the state")


def _check_dtypes(equation: Equation, leaves: Sequence[Value]) -> None:
    """Raises for conversions that are not linear."""
    dtypes = [atom.aval.dtype for atom in equation.values], [equation.outputs[0].aval.dtype]
    before, after = (jnp.result_type(*each) for each in dtypes)
    if equation.name == "convert_element_type":
        kinds = jnp.inexact, jnp.integer, jnp.bool_
        if not any(jnp.issubdtype(before, k) and jnp.issubdtype(after, k) for k in kinds):
            raise NotAffineError(f"the state is converted from {before} to {after}")
        # Integers wrap: what a narrow one has lost, a wide coefficient still has.
        if jnp.issubdtype(after, jnp.integer) and after.itemsize > before.itemsize:
            raise NotAffineError(f"the state is converted from {before} to the wider {after}")
    elif equation.name == "div" and not jnp.issubdtype(after, jnp.inexact):
        raise NotAffineError("div of integers is applied to the state")
    # The real part of A s is that of A times s only where s is real.
    loses = equation.name in ("conj", "imag", "real", "convert_element_type")
    if loses and jnp.issubdtype(before, jnp.complexfloating):
        to_real = equation.name == "conj" or not jnp.issubdtype(after, jnp.complexfloating)
        if to_real and any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in leaves):
            raise NotAffineError(f"{equation.name} is applied to a complex state")


def _zero(atom: Atom) -> Any:
    shape, dtype = _type_of(atom)
    return jnp.zeros(shape, _wide(dtype))


def _type_of(atom: Atom) -> tuple[tuple[int, ...], Any]:
    if isinstance(atom, Constant):
        return jnp.shape(atom.value), jnp.result_type(atom.value)
    return atom.aval.shape, atom.aval.dtype


def _moved(equation: Equation, numbers: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Where the elements are after the equation has moved them."""
    filled = [
        np.full(_type_of(atom)[0], -1, np.int32) if number is None else number
        for atom, number in zip(equation.inputs, numbers, strict=True)
    ]
    with jax.ensure_compile_time_eval():
        return [np.asarray(moved) for moved in equation.run(filled)]


def _merged(equation: Equation, numbers: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The elements that a value computed from several, place by place, depends on."""
    merged, *others = (number for number in numbers if number is not None)
    for number in others:
        if np.any((merged != number) & (merged >= 0) & (number >= 0)):
            raise NotAffineError(f"{equation.name} is applied to different elements of the state")
        merged = np.where(merged < 0, number, merged)
    return [np.broadcast_to(merged, out.aval.shape) for out in equation.outputs]
