"""Leaves of a pytree as named NumPy arrays and back, exact to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.errors import UserError


def name_leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of `tree` by their paths, such as "params/encoder/0/w_x", in its order."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        named["/".join(filter(None, (prefix, name)))] = leaf
    return named


def to_numpy(leaf: Any) -> np.ndarray:
    """A leaf as NumPy holds it: of a typed PRNG key its raw data; 64 bits for Python numbers."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def place_leaf(value: np.ndarray, like: Any) -> Any:
    """`value` as what `like` is: a JAX array or key on the same devices, NumPy, a Python number."""
    if isinstance(like, jax.Array | jax.ShapeDtypeStruct):
        if _is_key(like):
            impls: list[Any] = []  # traced, because `like` may be no more than a shape
            jax.eval_shape(lambda key: impls.append(jax.random.key_impl(key)), like)
            return _put(jax.random.wrap_key_data(jnp.asarray(value), impl=impls[0]), like)
        return _put(value, like)
    return value if isinstance(like, np.ndarray | np.generic) else value.item()


def _put(value: Any, like: Any) -> jax.Array:
    # An array that JAX may still move, it may move after the restart too: committed to its device,
    # it could not meet a batch that is spread over several.
    pinned = getattr(like, "committed", True) and like.sharding is not None
    return jax.device_put(value, like.sharding if pinned else None)


def check_leaves(saved: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Checks that the leaves saved, `{name: [shape, dtype]}`, are the ones wanted.

    Raises:
      UserError: one is missing, too many, or has another shape or dtype; it is named.
    """
    for name in [*wanted, *saved]:
        if name not in saved or name not in wanted:
            which = "lacks" if name in wanted else "has, and should not,"
            raise UserError(
                f"checkpoint {where} does not fit this model: it {which} {name}; was it made with "
                f"other options?"
            )
    for name, leaf in wanted.items():
        if list(signature(leaf)) != list(saved[name]):
            there, here = (f"{dtype}{shape}" for shape, dtype in (saved[name], signature(leaf)))
            raise UserError(
                f"checkpoint {where} does not fit this model: {name} is {there} there and {here} "
                f"here; was it made with other options?"
            )


def mean_leaf(*leaves: Any) -> Any:
    """Mean of floating `leaves`, summed in float64, as what the first is; others: the first."""
    first = leaves[0]
    if _is_key(first) or not jnp.issubdtype(jnp.result_type(first), jnp.floating):
        return first
    mean = np.mean([np.asarray(leaf, np.float64) for leaf in leaves], axis=0)
    return place_leaf(mean.astype(np.asarray(first).dtype), first)


def signature(leaf: Any) -> tuple[list[int], str]:
    """Shape and dtype of what `to_numpy` makes of a leaf; of a key the dtype says its kind."""
    if _is_key(leaf):
        return list(jax.eval_shape(jax.random.key_data, leaf).shape), str(leaf.dtype)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return list(leaf.shape), np.dtype(leaf.dtype).name
    return list(np.shape(leaf)), np.asarray(leaf).dtype.name


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
