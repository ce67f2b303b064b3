"""Which entries of a step's Jacobians can be other than zero, read off the program that is run.

The derivative of a step pulls a cotangent of the new state, n numbers, back to the parameters and
to the old state. That pullback is traced, and every element of every value in it is followed back
to the elements of the cotangent that can reach it. The result depends on shapes alone, never on
numbers: what is said to be zero is zero for all parameters, states and inputs. An operation that
is not known here is taken to mix all that it reads, so that the answer errs on the side of more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from recurrax.core import PyTree
from recurrax.scan.graph import Equation, Value, from_jaxpr

# Element by element, scalars being spread over all.
# fmt: off
_ELEMENTWISE = frozenset({
    "add", "add_any", "complex", "conj", "convert_element_type", "copy", "copy_p", "div", "imag",
    "mul", "neg", "pcast", "pvary", "real", "reduce_precision", "select_n", "sub",
})
# fmt: on
_OUTSIDE = -1  # the number of an element that padding has made


def reach(pullback: Callable[..., PyTree], known: Sequence[PyTree], cotangent: Any) -> list[Any]:
    """By which elements of `cotangent` [n] each element of each output can be reached.

    Args:
      pullback: a function of the known arguments and the cotangent.
      known, cotangent: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      For every leaf of the output, of N elements, a sparse boolean matrix [N, n] (scipy's CSR).
    """
    closed = jax.make_jaxpr(pullback)(*known, cotangent)
    inputs = [Value(v.aval) for v in closed.jaxpr.invars]
    graph = from_jaxpr(closed.jaxpr, inputs, [Value(v.aval) for v in closed.jaxpr.constvars])
    n = int(np.prod(cotangent.shape))
    found = {inputs[-1]: _sparse(np.arange(n), np.arange(n + 1), n)}
    for equation in graph.equations:
        if any(v in found for v in equation.values):
            outputs = _follow(equation, found, n)
            found.update(zip(equation.outputs, outputs, strict=True))
    return [
        found[v] if isinstance(v, Value) and v in found else _nothing(aval, n)
        for v, aval in zip(graph.outputs, closed.out_avals, strict=True)
    ]


def _sparse(indices: np.ndarray, starts: np.ndarray, width: int) -> Any:
    """Row i has the columns `indices[starts[i]:starts[i + 1]]`."""
    from scipy.sparse import csr_matrix  # here, because `import recurrax` should not wait for it

    return csr_matrix((np.ones(len(indices), bool), indices, starts), (len(starts) - 1, width))


def _nothing(aval: Any, n: int) -> Any:
    return _sparse(np.zeros(0, int), np.zeros(int(np.prod(aval.shape)) + 1, int), n)


def _numbers(aval: Any) -> np.ndarray:
    return np.arange(np.prod(aval.shape, dtype=int)).reshape(aval.shape)


def _follow(equation: Equation, found: Mapping[Value, Any], n: int) -> list[Any]:
    """The outputs' matrices, where at least one input can be reached."""
    reached = [(i, v) for i, v in enumerate(equation.inputs) if isinstance(v, Value) and v in found]
    shapes = {v.aval.shape for v in equation.outputs}
    if equation.name in _ELEMENTWISE and all(v.aval.shape in (*shapes, ()) for _, v in reached):
        numbers = [np.broadcast_to(_numbers(v.aval), *shapes) for _, v in reached]
        rows = [found[v][ids.ravel()] for (_, v), ids in zip(reached, numbers, strict=True)]
        return [_either(rows)]
    if equation.name == "dot_general":
        return [_either([_product(equation, i, v, found[v]) for i, v in reached])]
    if equation.name == "reduce_sum":
        ((_, v),) = reached
        axes = equation.params["axes"]
        kept = [axis for axis in range(len(v.aval.shape)) if axis not in axes]
        return [_union(found[v], _numbers(v.aval).transpose(*kept, *axes), len(kept))]
    if equation.name in _MOVES:
        return _moved(equation, found, n)
    one = _union(_stacked([found[v] for _, v in reached]), None, 0)
    return [one[np.zeros(int(np.prod(v.aval.shape)), int)] for v in equation.outputs]


def _either(matrices: Sequence[Any]) -> Any:
    total = matrices[0]
    for other in matrices[1:]:
        total = total + other
    return total


def _stacked(matrices: Sequence[Any]) -> Any:
    from scipy.sparse import vstack

    return vstack(matrices, format="csr")


def _union(matrix: Any, numbers: np.ndarray | None, kept: int) -> Any:
    """One row for each place on the first `kept` axes of `numbers`: all rows numbered behind it."""
    numbers = np.arange(matrix.shape[0]) if numbers is None else numbers
    places, behind = (
        np.prod(numbers.shape[:kept], dtype=int),
        np.prod(numbers.shape[kept:], dtype=int),
    )
    starts = np.arange(places + 1) * behind
    return _sparse(numbers.ravel(), starts, matrix.shape[0]) @ matrix


def _product(equation: Equation, side: int, value: Value, matrix: Any) -> Any:
    """What comes of one side of a product: each of its elements reaches a row or a column."""
    contracted, batch = (axes[side] for axes in equation.params["dimension_numbers"])
    shape = value.aval.shape
    free = [axis for axis in range(len(shape)) if axis not in (*contracted, *batch)]
    rows = _union(
        matrix,
        _numbers(value.aval).transpose(*batch, *free, *contracted),
        len(batch) + len(free),
    )
    whole = equation.outputs[0].aval.shape
    own = np.arange(rows.shape[0]).reshape([shape[a] for a in batch] + [shape[a] for a in free])
    others = len(whole) - own.ndim  # the other side's free axes, which are last or in the middle
    at = own.ndim if side == 0 else len(batch)
    own = np.expand_dims(own, tuple(range(at, at + others)))
    return rows[np.broadcast_to(own, whole).ravel()]


def _moved(equation: Equation, found: Mapping[Value, Any], n: int) -> list[Any]:
    """The elements' numbers are moved as the equation moves the elements."""
    numbers, matrices, total = [], [], 0
    for atom in equation.inputs:
        if isinstance(atom, Value) and atom in found:
            numbers.append(_numbers(atom.aval) + total)
            matrices.append(found[atom])
            total += matrices[-1].shape[0]
        else:
            aval = atom.aval if isinstance(atom, Value) else np.asarray(atom.value)
            numbers.append(np.full(aval.shape, _OUTSIDE))
    matrices.append(_sparse(np.zeros(0, int), np.zeros(2, int), n))  # the last row: nothing
    matrix = _stacked(matrices)
    moved = _MOVES[equation.name](numbers, equation.params)
    moved = moved if isinstance(moved, list) else [moved]
    return [matrix[np.where(ids == _OUTSIDE, total, ids).ravel()] for ids in moved]


def _broadcast(numbers: Sequence[np.ndarray], params: Mapping[str, Any]) -> np.ndarray:
    shape = [1] * len(params["shape"])
    for axis, extent in zip(params["broadcast_dimensions"], numbers[0].shape, strict=True):
        shape[axis] = extent
    return np.broadcast_to(numbers[0].reshape(shape), params["shape"])


def _slice(numbers: Sequence[np.ndarray], params: Mapping[str, Any]) -> np.ndarray:
    starts, limits = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(starts)
    return numbers[0][tuple(map(slice, starts, limits, strides))]


def _pad(numbers: Sequence[np.ndarray], params: Mapping[str, Any]) -> np.ndarray:
    """With negative padding too, which cuts."""
    ids = numbers[0]
    for axis, (low, high, inside) in enumerate(params["padding_config"]):
        extent = ids.shape[axis]
        spread = extent + max(extent - 1, 0) * inside
        places = np.arange(extent) * (inside + 1) + low
        size = low + spread + high
        shape = (*ids.shape[:axis], size, *ids.shape[axis + 1 :])
        wide = np.full(shape, numbers[1])
        inner = (places >= 0) & (places < size)
        index = (slice(None),) * axis
        wide[(*index, places[inner])] = ids[(*index, inner)]
        ids = wide
    return ids


_MOVES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda numbers, params: np.concatenate(numbers, params["dimension"]),
    "expand_dims": lambda numbers, params: np.expand_dims(numbers[0], params["dimensions"]),
    "pad": _pad,
    "reshape": lambda numbers, params: numbers[0].reshape(params["new_sizes"]),
    "rev": lambda numbers, params: np.flip(numbers[0], params["dimensions"]),
    "slice": _slice,
    "split": lambda numbers, params: np.split(
        numbers[0], np.cumsum(params["sizes"])[:-1], params["axis"]
    ),
    "squeeze": lambda numbers, params: np.squeeze(numbers[0], params["dimensions"]),
    "transpose": lambda numbers, params: numbers[0].transpose(params["permutation"]),
}
