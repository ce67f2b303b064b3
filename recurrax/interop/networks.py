"""A peer's network as ours: the model, and its params read from and written to the peer's tree.

What linen and nnx share: RNN, Bidirectional and Sequential have the same attributes in both, and
differ in where their params lie.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.compose import Bidirectional, bidirectional, serial
from recurrax.compose import reverse as turned_round
from recurrax.core import PyTree
from recurrax.interop import layout


class Network(NamedTuple):
    """Our `model` (or cell) of a peer's module; `read(tree) -> params`, `write(params) -> tree`."""

    model: Any
    read: Callable[[Any], PyTree]
    write: Callable[[PyTree], dict[Any, Any]]


def of_cell(spec: layout.Layout, dtype: Any = None) -> Network:
    """One cell; `dtype` is the peer's dtype of computation, where it is fixed."""

    def read(tree: Any) -> PyTree:
        params = layout.read(spec, layout.flatten(_mapping(spec.name, tree)))
        _check_dtype(spec.name, dtype, params)
        return params

    def write(params: PyTree) -> dict[Any, Any]:
        tree = layout.nest(layout.write(spec, params))
        _check_dtype(spec.name, dtype, params)
        return tree

    return Network(spec.cell, read, write)


def of_rnn(rnn: Any, cell: Network, reverse: bool) -> Network:
    """`RNN`: its cell, or where it runs in reverse the model that does so."""
    name = type(rnn).__name__
    if reverse and not rnn.keep_order:
        raise ValueError(
            f"{name}: reverse=True without keep_order=True returns the outputs last step first; "
            f"ours stay at their own steps. Use keep_order=True"
        )
    return under("cell", cell._replace(model=turned_round(cell.model)) if reverse else cell)


def of_bidirectional(module: Any, concatenate: Any, forward: Network, backward: Network) -> Network:
    """`Bidirectional` of two RNNs; `concatenate` is the peer's default `merge_fn`."""
    name = type(module).__name__
    merges = {concatenate: "concat", operator.add: "sum", jnp.add: "sum"}
    if module.merge_fn not in merges:
        raise ValueError(
            f"{name}: merge_fn must be the default, operator.add or jnp.add, got "
            f"{module.merge_fn!r}. Read the two RNNs one by one and merge what they return"
        )

    def read(tree: Any) -> Bidirectional:
        return Bidirectional(
            forward.read(_child(name, tree, "forward_rnn")),
            backward.read(_child(name, tree, "backward_rnn")),
        )

    def write(params: Any) -> dict[Any, Any]:
        if not isinstance(params, tuple) or len(params) != 2:
            raise TypeError(f"{name}: params must be a pair, got {type(params).__name__}")
        return {"forward_rnn": forward.write(params[0]), "backward_rnn": backward.write(params[1])}

    merge = merges[module.merge_fn]
    return Network(bidirectional(forward.model, backward.model, merge=merge), read, write)


def under(key: str, network: Network) -> Network:
    """A network whose params lie one level deeper."""
    return Network(
        network.model,
        lambda tree: network.read(_child(f"{network.model}", tree, key)),
        lambda params: {key: network.write(params)},
    )


def of_sequential(networks: list[Network], keys: list[Any]) -> Network:
    """`Sequential`, whose layers' params lie under `keys`."""

    def read(tree: Any) -> tuple[PyTree, ...]:
        return tuple(
            network.read(_child("Sequential", tree, key))
            for network, key in zip(networks, keys, strict=True)
        )

    def write(params: Any) -> dict[Any, Any]:
        if not isinstance(params, tuple) or len(params) != len(networks):
            raise TypeError(f"Sequential: params must be a tuple of {len(networks)}, one a layer")
        return {
            key: network.write(p) for network, key, p in zip(networks, keys, params, strict=True)
        }

    return Network(serial(*(network.model for network in networks)), read, write)


def check_class(module: Any, package: str) -> None:
    """Raises where a module is of a user's own class, which may compute anything.

    Raises:
      TypeError: its class, a subclass of a peer's perhaps, is not the peer's own.
    """
    cls = type(module)
    if cls.__module__.split(".")[0] != package:
        raise TypeError(
            f"module must be of a class of {package} itself, got {cls.__module__}.{cls.__name__}"
        )


def check_attributes(module: Any, **allowed: tuple[Any, ...]) -> None:
    """Raises where an attribute of a peer's module changes the equations, so that ours differ."""
    for attribute, values in allowed.items():
        value = getattr(module, attribute)
        if not any(value is v or (isinstance(v, str) and value == v) for v in values):
            raise ValueError(
                f"{type(module).__name__}: {attribute}={value!r} has no counterpart here; only "
                f"{' or '.join(str(getattr(v, '__name__', v)) for v in values)} has"
            )


def _check_dtype(name: str, dtype: Any, params: PyTree) -> None:
    for leaf in jax.tree.leaves(params):
        if dtype is not None and leaf.dtype != dtype:
            raise ValueError(
                f"{name}: computes in {jnp.dtype(dtype)} from params in {leaf.dtype}; ours compute "
                f"in the dtype of the params and inputs. Cast these, and leave the module's dtype"
            )


def _mapping(name: str, tree: Any) -> Mapping[Any, Any]:
    if not isinstance(tree, Mapping):
        raise TypeError(f"{name}: params must be a dict, got {type(tree).__name__}")
    return tree


def _child(name: str, tree: Any, key: Any) -> Any:
    if key not in _mapping(name, tree):
        raise ValueError(f"{name}: params must hold {key!r}, got {list(tree)}")
    return tree[key]
