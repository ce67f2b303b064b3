"""Rates of noise: one for all, by name, or a tree of them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.core import PyTree


def check_rate(name: str, rate: Any) -> float:
    """A rate as a Python float, which takes the dtype of what it multiplies.

    Raises where it is no number in [0, 1).
    """
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
        raise TypeError(f"{name}: rate must be a number in [0, 1), got {rate!r}")
    if not 0 <= float(rate) < 1:
        raise ValueError(f"{name}: rate must lie in [0, 1), got {rate}")
    return float(rate)


def check_rates(name: str, rates: PyTree) -> PyTree:
    """The rates as Python floats; raises where one is no number in [0, 1), or there is none."""
    if not jax.tree.leaves(rates):
        raise TypeError(f"{name}: rate must be a number, or a tree of numbers, got {rates!r}")
    return jax.tree.map(lambda rate: check_rate(name, rate), rates)


def path_names(path: tuple[Any, ...]) -> list[str]:
    """The names of the fields on the way to a leaf, outermost first."""
    names = (getattr(entry, "name", getattr(entry, "key", None)) for entry in path)
    return [name for name in names if isinstance(name, str)]


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf can be scaled: a counter or a key cannot."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def state_rates(name: str, rates: PyTree, state: PyTree) -> PyTree:
    """The rate of each leaf of a state: of one number, of names of fields, or of a prefix tree.

    Raises:
      ValueError: a name that no leaf has; a tree that is no prefix of the state.
      TypeError: a leaf that was named is not floating.
    """
    if not isinstance(rates, Mapping):
        try:
            return jax.tree.broadcast(rates, state)
        except ValueError as error:
            raise ValueError(
                f"{name}: rate must be a number, rates by the name of a field of the state, or a "
                f"prefix of the state {jax.tree.structure(state)}, got {rates!r}"
            ) from error
    seen = set()

    def rate_of(path, leaf):
        for field in reversed(path_names(path)):
            if field in rates:
                seen.add(field)
                if not is_inexact(leaf):
                    raise TypeError(
                        f"{name}: rate: state{jax.tree_util.keystr(path)} must be floating, got "
                        f"{jnp.result_type(leaf)}"
                    )
                return rates[field]
        return 0.0

    result = jax.tree.map_with_path(rate_of, state)
    if unknown := set(rates) - seen:
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
        raise ValueError(
            f"{name}: rate: no field of the state has the name {sorted(unknown)}; its leaves are "
            f"state{', state'.join(paths)}"
        )
    return result
