"""Zoneout: units of the state that, now and then, stay as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.compose.rates import check_rates, is_inexact, state_rates
from recurrax.core import Cell, PyTree, as_cell, check_result, check_same_state, split_key


def zoneout(cell: Any, rate: float | Mapping[str, float] | PyTree) -> Cell:
    """Zoneout (Krueger et al., 2017): each unit of the state keeps its value with probability r.

        s_t = d_t * s_{t-1} + (1 - d_t) * step(s_{t-1}, x_t),    d_t ~ Bernoulli(r)   with a key
        s_t = r * s_{t-1} + (1 - r) * step(s_{t-1}, x_t)                              without

    Without a key, the mask is replaced by its expectation, as in the paper. Each leaf of the state
    has masks of its own, drawn at every step; counters and other leaves that are not floating are
    always updated.

    An output that is a leaf of the new state (`return LSTMState(c, h), h`: the very same array) is
    zoned out with it. Any other output is the one that the step computed.

    Args:
      cell: any cell.
      rate: r in [0, 1), for all of the state; rates by the name of a field, at any depth, 0 where a
        field is not named; or a tree of rates with the structure of the state or of its upper part.

    Raises:
      TypeError: `cell` is no cell; a rate is no number, or names a leaf that is not floating.
      ValueError: a rate outside [0, 1); a name or a structure that is not the state's.

    >>> import recurrax as rx
    >>> rx.zoneout(rx.lstm(8), {"c": 0.5, "h": 0.05})
    zoneout(lstm(8), {'c': 0.5, 'h': 0.05})
    """
    cell = as_cell(cell)
    name = f"zoneout({cell}, {rate})"
    floats = check_rates("zoneout", rate)

    def step(params, state, x, key=None):
        rates = jax.tree.leaves(state_rates(name, floats, state))
        step_key, mask_key = (None, None) if key is None else split_key(name, key)
        after, y = check_result(name, cell.step(params, state, x, step_key))
        check_same_state(name, state, after)
        old, new = jax.tree.leaves(state), jax.tree.leaves(after)
        masks = [None] * len(new) if mask_key is None else split_key(name, mask_key, len(new))
        zoned = list(map(_zone, old, new, rates, masks))
        of = dict(zip(map(id, new), zoned, strict=True))
        y = jax.tree.map(lambda leaf: of.get(id(leaf), leaf), y)
        return jax.tree.unflatten(jax.tree.structure(after), zoned), y

    return Cell(cell.init, cell.initial_state, step, name)


def _zone(old: jax.Array, new: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if rate == 0 or not is_inexact(new):
        return new
    if key is None:
        return rate * old + (1 - rate) * new
    return jnp.where(jax.random.bernoulli(key, rate, new.shape), old, new)
