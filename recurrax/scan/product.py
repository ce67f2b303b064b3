"""Products of all steps with one matrix, written so that they compile to plain matrix products.

A [T, B, H] array of rows times a matrix is one product of T*B rows, and its matrix's gradient one
contraction over T*B. XLA's CPU compiler runs a `dot_general` that contracts two axes at once, as
the transpose of JAX's own would, up to three times slower than the same contraction of one merged
axis; but under `vmap` only a primitive sees both axes to merge them. Hence two primitives, each the
transpose of the other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.scan import _jax
from recurrax.scan.graph import Equation, Value
from recurrax.scan.kinds import Kind, Kinds, kind_of


def _rows(a: jax.Array, w: jax.Array, **how: Any) -> jax.Array:
    """a [..., K] w [K, N] -> [..., N]."""
    return lax.dot_general(a, w, (((a.ndim - 1,), (0,)), ((), ())), **how)


def _columns(a: jax.Array, c: jax.Array, **how: Any) -> jax.Array:
    """a [..., K], c [..., N] -> [K, N], summed over the axes in front."""
    front = tuple(range(a.ndim - 1))
    return lax.dot_general(a, c, ((front, front), ((), ())), **how)


def _merged_columns(a: jax.Array, c: jax.Array, **how: Any) -> jax.Array:
    """The same. Merged, the axes could not stay sharded, as the batch may be."""
    return _columns(a.reshape(-1, a.shape[-1]), c.reshape(-1, c.shape[-1]), **how)


rows_p = _jax.primitive("rows", _rows, _rows)
columns_p = _jax.primitive("columns", _merged_columns, _columns)

_jax.bilinear(
    rows_p,
    lambda ct, a, w, **how: _like(a, rows_p.bind(ct, w.T, **how)),
    lambda ct, a, w, **how: _like(w, columns_p.bind(a, ct, **how)),
)
_jax.bilinear(
    columns_p,
    lambda ct, a, c, **how: _like(a, rows_p.bind(c, ct.T, **how)),
    lambda ct, a, c, **how: _like(c, rows_p.bind(a, ct, **how)),
)


def _like(operand: Any, result: jax.Array) -> jax.Array:
    return lax.convert_element_type(result, _jax.type_of(operand).dtype)


def _batch_rows(operands, axes, **how):
    (a, w), (a_axis, w_axis) = operands, axes
    if w_axis is not None:
        return jax.vmap(functools.partial(_rows, **how), axes)(a, w), 0
    if a_axis == a.ndim - 1:
        a, a_axis = jnp.moveaxis(a, a_axis, 0), 0
    return rows_p.bind(a, w, **how), a_axis


def _batch_columns(operands, axes, **how):
    return jax.vmap(functools.partial(_columns, **how), axes)(*operands), 0


_jax.batching_rule(rows_p, _batch_rows)
_jax.batching_rule(columns_p, _batch_columns)


def with_rows(equations: Sequence[Equation], kinds: Kinds) -> list[Equation]:
    """The equations, for use under `vmap` over the steps, with products by an invariant as rows."""
    return [_as_rows(e, kinds) or e for e in equations]


def _as_rows(equation: Equation, kinds: Kinds) -> Equation | None:
    if equation.name != "dot_general":
        return None
    (contracted, batch) = equation.params["dimension_numbers"]
    fixed = [kind_of(kinds, atom) == Kind.INVARIANT for atom in equation.inputs]
    if sum(fixed) != 1 or batch[0] or not all(isinstance(a, Value) for a in equation.inputs):
        return None
    if equation.params.get("out_sharding") is not None:
        return None
    side = fixed.index(False)  # of the rows
    how = {k: equation.params[k] for k in ("precision", "preferred_element_type")}

    def run(values: Sequence[Any]) -> list[Any]:
        a, w = values[side], values[1 - side]
        a_last, w_first = contracted[side], contracted[1 - side]
        a_free = [i for i in range(a.ndim) if i not in a_last]
        w_free = [i for i in range(w.ndim) if i not in w_first]
        a_shape, w_shape = [a.shape[i] for i in a_free], [w.shape[i] for i in w_free]
        a = a.transpose(*a_free, *a_last).reshape(*a_shape, -1)
        w = w.transpose(*w_first, *w_free).reshape(a.shape[-1], -1)
        product = rows_p.bind(*_jax.same_variation(a, w), **how)
        product = product.reshape(*a_shape, *w_shape)
        if side == 1:  # the axes of the first operand come first
            product = jnp.moveaxis(product, range(len(a_free)), range(-len(a_free), 0))
        return [product]

    return equation._replace(run=run)
