"""An initial state that is learned with the other params."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.compose.rates import is_inexact
from recurrax.core import Cell, PyTree, as_cell, check_params


class LearnedStateParams(NamedTuple):
    """`state`, the initial state (None for a leaf that is not floating), and the cell's params."""

    state: Any
    cell: Any


def learned_state(cell: Any) -> Cell:
    """A cell whose initial state is among its params (Forcada and Carrasco, 1995).

        s_0 = params.state

    `init` starts it at the cell's own initial state. A sequence that `resets` begins starts from
    it too, and its gradient is the sum over all of these. Counters and other leaves that are not
    floating have no gradient, and stay those of the cell; so does every leaf that is None in
    `params.state`. An xLSTM's stabiliser starts at minus infinity, where c and n have no gradient
    either, and weight decay would make it NaN: there set all but h to None.

    Args:
      cell: any cell.

    Raises:
      TypeError: `cell` is no cell; params of another cell.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.learned_state(rx.lstm(8))
    >>> cell.init(jax.random.key(0), jnp.ones(3)).state.h.shape
    (8,)
    """
    cell = as_cell(cell)
    name = f"learned_state({cell})"

    def init(key: jax.Array, x: PyTree) -> LearnedStateParams:
        params = cell.init(key, x)
        state = cell.initial_state(params)
        # Copies: a buffer that two leaves share cannot be donated, and training donates params.
        return LearnedStateParams(
            jax.tree.map(lambda leaf: jnp.array(leaf) if is_inexact(leaf) else None, state), params
        )

    def initial_state(params: LearnedStateParams) -> PyTree:
        check_params(name, params, LearnedStateParams)
        own = cell.initial_state(params.cell)
        return jax.tree.map(
            lambda leaf, learned: leaf if learned is None else learned, own, params.state
        )

    def step(params: LearnedStateParams, state: PyTree, x: PyTree, key=None):
        check_params(name, params, LearnedStateParams)
        return cell.step(params.cell, state, x, key)

    return Cell(init, initial_state, step, name)
