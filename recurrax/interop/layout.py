"""The weights of one cell, between our record of arrays and a peer's many named arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from recurrax.core import Cell, PyTree, check_params
from recurrax.interop.arrays import floats, reorder

Leaves = Mapping[str, Any]
"""A peer's arrays by path, such as "hi/kernel"."""


def one_step(w_x: Any) -> tuple[int, ...]:
    """The shape of a step's input, told by the weights that meet it: [D]."""
    return tuple(w_x.shape[:1])


class Layout(NamedTuple):
    """Where a peer, called `name`, keeps the weights of our `cell`, whose params are a `record`.

    `blocks[field]` lists the peer's arrays that, side by side along the last axis, are ours; the
    first field is the input's weights. A field without blocks is a bias that the peer has not: zero
    on the way in, and on the way out it must be zero. `gates` is the peer's order of the gates and
    ours. `shift[field]` is what the peer's step adds by itself. `second_bias` is the path of a bias
    that adds to `b`, where the peer has two; it takes zeros on the way out.
    """

    name: str
    cell: Cell
    record: type
    blocks: Mapping[str, tuple[str, ...]]
    gates: tuple[str, str] | None = None
    shift: Mapping[str, Any] = {}
    second_bias: str = ""
    input_shape: Callable[[Any], tuple[int, ...]] = one_step


def read(layout: Layout, leaves: Leaves) -> PyTree:
    """Our params, from the peer's arrays; differentiable.

    Raises:
      ValueError: arrays are missing, unknown, or of another shape.
    """
    wanted = {path for paths in layout.blocks.values() for path in paths}
    if wanted != set(leaves) - {layout.second_bias}:
        raise ValueError(
            f"{layout.name}: params must hold the arrays {sorted(wanted)}, got {sorted(leaves)}"
        )
    fields: dict[str, Any] = {}
    for field, paths in layout.blocks.items():
        blocks = [floats(f"{layout.name}: {path}", leaves[path]) for path in paths]
        if len({block.shape for block in blocks}) > 1:
            shapes = {path: block.shape for path, block in zip(paths, blocks, strict=True)}
            raise ValueError(f"{layout.name}: these must have one shape, got {shapes}")
        fields[field] = jnp.concatenate(blocks, axis=-1)
    if layout.second_bias in leaves:
        path = f"{layout.name}: {layout.second_bias}"
        fields["b"] += floats(path, leaves[layout.second_bias], fields["b"].shape)
    expected = _expected(layout, next(iter(fields.values())))
    for field, struct in expected._asdict().items():
        if field not in fields:
            fields[field] = None if struct is None else jnp.zeros(struct.shape, struct.dtype)
    params = layout.record(**fields)
    _check_shapes(layout.name, params, expected)
    if layout.gates:
        theirs, ours = layout.gates
        params = jax.tree.map(lambda leaf: reorder(leaf, theirs, ours), params)
    shifted = {f: getattr(params, f) + shift for f, shift in layout.shift.items()}
    return params._replace(**shifted)


def write(layout: Layout, params: PyTree) -> dict[str, jax.Array]:
    """The peer's arrays, from our params; differentiable.

    Raises:
      TypeError: params of another cell. ValueError: params of another width, or a bias that the
        peer cannot hold.
    """
    check_params(layout.name, params, layout.record)
    _check_shapes(layout.name, params, _expected(layout, params[0]))
    shifted = {f: getattr(params, f) - shift for f, shift in layout.shift.items()}
    params = params._replace(**shifted)
    if layout.gates:
        theirs, ours = layout.gates
        params = jax.tree.map(lambda leaf: reorder(leaf, ours, theirs), params)
    leaves: dict[str, jax.Array] = {}
    for field, leaf in params._asdict().items():
        if field in layout.blocks:
            paths = layout.blocks[field]
            leaves |= zip(paths, jnp.split(leaf, len(paths), axis=-1), strict=True)
        elif leaf is not None:
            check_zero(layout.name, f"params.{field}", leaf)
    if layout.second_bias:
        leaves[layout.second_bias] = jnp.zeros_like(params.b)
    return leaves


def _expected(layout: Layout, w_x: Any) -> Any:
    """The shapes of our params, for weights that meet the input as `w_x` does."""
    x = jax.ShapeDtypeStruct(layout.input_shape(w_x), w_x.dtype)
    return jax.eval_shape(layout.cell.init, jax.random.key(0), x)


def _check_shapes(name: str, params: Any, expected: Any) -> None:
    for field, struct in expected._asdict().items():
        wanted = None if struct is None else struct.shape
        got = None if getattr(params, field) is None else jnp.shape(getattr(params, field))
        if got != wanted:
            raise ValueError(f"{name}: params.{field} must have shape {wanted}, got {got}")


def check_zero(name: str, what: str, leaf: jax.Array) -> None:
    """Raises where the peer has no place for a bias and it is not known to be zero."""
    if isinstance(leaf, jax.core.Tracer):
        raise ValueError(
            f"{name} has no place for {what}, which must be zero; that cannot be seen under jit or "
            f"grad, so convert outside of them"
        )
    if jnp.any(leaf != 0):
        raise ValueError(f"{name} has no place for {what}, which is not zero")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by "/"."""
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{key}/")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def nest(leaves: Leaves) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree
