"""Products of all steps with one matrix, written so that they compile to plain matrix products.

A [T, B, H] array of rows times a matrix is one product of T*B rows, and its matrix's gradient one
contraction over T*B. XLA's CPU compiler runs a `dot_general` that contracts two axes at once, as
the transpose of JAX's own would, up to three times slower than the same contraction of one merged
axis; but under `vmap` only a primitive sees both axes to merge them. Hence two primitives, each the
transpose of the other.

They also make JAX's precision "BF16_BF16_F32" real on every platform. XLA's CPU compiler takes no
notice of it, and rounding the operands by hand would round their gradients too. It is a permission,
as all of JAX's precisions are: a product that would not gain by it keeps float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.scan import _jax
from recurrax.scan.graph import Equation
from recurrax.scan.kinds import Kind, Kinds, kind_of


def _rows(a: jax.Array, w: jax.Array, *, turned: bool, dot: Any = None, **how: Any) -> jax.Array:
    """a [..., K] w [K, N] -> [..., N]; w is [N, K] where it is `turned`."""
    return (dot or _dot)(a, w, (((a.ndim - 1,), (int(turned),)), ((), ())), **how)


def _columns(a: jax.Array, c: jax.Array, *, dot: Any = None, **how: Any) -> jax.Array:
    """a [..., K], c [..., N] -> [K, N], summed over the axes in front."""
    front = tuple(range(a.ndim - 1))
    return (dot or _dot)(a, c, ((front, front), ((), ())), **how)


def _dot(
    a: jax.Array, b: jax.Array, numbers: Any, *, precision: Any, preferred_element_type: Any
) -> jax.Array:
    """`dot_general`; where asked, of operands rounded to bfloat16, summed in float32."""
    if is_rounded(precision, a, b):
        a, b, precision = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), lax.Precision.DEFAULT
        preferred_element_type = preferred_element_type or jnp.dtype(jnp.float32)
    return lax.dot_general(
        a, b, numbers, precision=precision, preferred_element_type=preferred_element_type
    )


def is_rounded(precision: Any, *operands: Any) -> bool:
    """Whether a product of these operands is to be one of bfloat16 numbers summed in float32."""
    return precision == lax.DotAlgorithmPreset.BF16_BF16_F32 and all(
        _jax.type_of(operand).dtype == jnp.float32 for operand in operands
    )


def _merged_columns(a: jax.Array, c: jax.Array, **how: Any) -> jax.Array:
    """The same. Merged, the axes could not stay sharded, as the batch may be."""
    rows = math.prod(a.shape[:-1])
    a, c = a.reshape(rows, a.shape[-1]), c.reshape(rows, c.shape[-1])
    # XLA's CPU compiler would round, and then multiply in float32 after all: of the products of
    # bfloat16 numbers it has a fast form only for those whose first operand lies in rows.
    how_on_cpu = {**how, "precision": _unrounded(how["precision"])}
    in_float32 = functools.partial(_columns, dot=lax.dot_general, **how_on_cpu)
    return lax.platform_dependent(a, c, cpu=in_float32, default=functools.partial(_columns, **how))


rows_p = _jax.primitive("rows", _rows, _rows)
columns_p = _jax.primitive("columns", _merged_columns, _columns)

_jax.bilinear(
    rows_p,
    lambda ct, a, w, *, turned, **how: _like(a, rows_p.bind(ct, w, turned=not turned, **how)),
    lambda ct, a, w, *, turned, **how: _like(w, _outer(turned, a, ct, how)),
)
_jax.bilinear(
    columns_p,
    lambda ct, a, c, **how: _like(a, rows_p.bind(c, ct, turned=True, **how)),
    lambda ct, a, c, **how: _like(c, rows_p.bind(a, ct, turned=False, **how)),
)


def _outer(turned: bool, a: jax.Array, ct: jax.Array, how: dict[str, Any]) -> jax.Array:
    return columns_p.bind(*((ct, a) if turned else (a, ct)), **how)


def _like(operand: Any, result: jax.Array) -> jax.Array:
    return lax.convert_element_type(result, _jax.type_of(operand).dtype)


def _batch_columns(operands, axes, **how):
    return jax.vmap(functools.partial(_columns, dot=lax.dot_general, **how), axes)(*operands), 0


_jax.keep_batch(rows_p, functools.partial(_rows, dot=lax.dot_general), lambda w: 1)
_jax.batching_rule(columns_p, _batch_columns)


def matmul(x: jax.Array, w: jax.Array, *, precision: Any = None) -> jax.Array:
    """x [..., K] times a matrix w [K, N], as the loops of `scan` multiply: [..., N].

    For products outside a loop: in `jax.vmap` w's gradient is one contraction over the batch and
    all other axes, and `precision` (or `jax.default_matmul_precision`) "BF16_BF16_F32" is mixed
    precision on CPUs too, as in `rx.scan`.

    Raises:
      TypeError, ValueError: `x` and `w` have no such axes, or the precision is unknown.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> rx.matmul(jnp.ones((5, 3)), jnp.ones((3, 2)), precision="BF16_BF16_F32").shape
    (5, 2)
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"matmul: expected x [..., K] and w [K, N], got shapes {x.shape} and {w.shape}"
        )
    x, w = (a.astype(jnp.promote_types(x.dtype, w.dtype)) for a in (x, w))
    traced = jax.make_jaxpr(functools.partial(jnp.dot, precision=precision))(x, w)
    how = next(e.params for e in traced.eqns if e.primitive.name == "dot_general")
    if any(_jax.is_explicitly_sharded(_jax.type_of(a)) for a in (x, w)):
        return jnp.dot(x, w, precision=precision)
    x, w = _jax.same_variation(x, w)
    return rows_p.bind(x, w, turned=False, **_how(how))


def _unrounded(precision: Any) -> Any:
    return lax.Precision.DEFAULT if isinstance(precision, lax.DotAlgorithmPreset) else precision


def _how(params: Any) -> dict[str, Any]:
    return {name: params[name] for name in ("precision", "preferred_element_type")}


def with_rows(
    equations: Sequence[Equation], kinds: Kinds, *, only_rounded: bool = False
) -> list[Equation]:
    """The equations, for use under `vmap` over the steps, with products by an invariant as rows."""
    return [_as_rows(e, kinds, only_rounded) or e for e in equations]


def _as_rows(equation: Equation, kinds: Kinds, only_rounded: bool) -> Equation | None:
    if equation.name != "dot_general":
        return None
    (contracted, batch) = equation.params["dimension_numbers"]
    fixed = [kind_of(kinds, atom) == Kind.INVARIANT for atom in equation.inputs]
    operands = equation.values
    if sum(fixed) != 1 or batch[0] or len(operands) != 2:
        return None
    if equation.params.get("out_sharding") is not None or any(
        _jax.is_explicitly_sharded(v.aval) for v in operands
    ):
        return None
    if only_rounded and not is_rounded(equation.params["precision"], *operands):
        return None
    side = fixed.index(False)  # of the rows
    turned = operands[1 - side].aval.ndim == 2 and tuple(contracted[1 - side]) == (1,)
    how = _how(equation.params)
    if operands[1 - side].aval.ndim == len(contracted[1 - side]):  # a vector: not worth it
        how["precision"] = _unrounded(how["precision"])

    def run(values: Sequence[Any]) -> list[Any]:
        a, w = values[side], values[1 - side]
        a_last, w_first = contracted[side], contracted[1 - side]
        a_free = [i for i in range(a.ndim) if i not in a_last]
        w_free = [i for i in range(w.ndim) if i not in w_first]
        a_shape, w_shape = [a.shape[i] for i in a_free], [w.shape[i] for i in w_free]
        inner = math.prod(a.shape[i] for i in a_last)
        a = a.transpose(*a_free, *a_last).reshape(*a_shape, inner)
        if not turned:
            w = w.transpose(*w_first, *w_free).reshape(inner, math.prod(w_shape))
        product = rows_p.bind(*_jax.same_variation(a, w), turned=turned, **how)
        product = product.reshape(*a_shape, *w_shape)
        if side == 1:  # the axes of the first operand come first
            product = jnp.moveaxis(product, range(len(a_free)), range(-len(a_free), 0))
        return [product]

    return equation._replace(run=run)
