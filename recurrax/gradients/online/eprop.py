"""e-prop: what a unit keeps to itself is followed through time, what it sends to others is not."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax

from recurrax.compose.rates import path_names
from recurrax.core import PyTree, as_cell
from recurrax.gradients.online.learner import OnlineLearner, online_learner
from recurrax.gradients.online.rtrl import in_blocks


def eprop(cell: Any, observable: str | Sequence[str] | None = None) -> OnlineLearner:
    """Eligibility propagation, e-prop (Bellec et al., 2020).

        epsilon_t = ds_t/ds_{t-1} epsilon_{t-1} + ds_t/dtheta    without the paths through z_{t-1}
        dL_t/dtheta = dL_t/dy_t (dy_t/ds_{t-1} epsilon_{t-1} + dy_t/dtheta)    without them either

    z is the part of the state that units see of each other: the spikes, or the h of an LSTM; the
    rest, such as its c, is a unit's own. With z_{t-1} taken as a constant, the eligibilities
    epsilon of an LSTM have one or two numbers for each parameter, and a step costs not much more
    than the cell's. The learning signal is the exact dL_t/dy_t ("symmetric e-prop"): what an error
    of now says about the state that it reads, and nothing of what comes later through z.

    The gradient is that of backpropagation through the cell with `jax.lax.stop_gradient` on z in
    front of each step. Where nothing is hidden (`rx.elman`, `rx.gru`, whose state is h alone) that
    is truncation to one step; where nothing is observable (`rx.lru`) it is exact.

    Args:
      cell: any cell.
      observable: names of the fields of the state that are z, such as "h", wherever they are in it.
        By default the arrays that the step also puts out as they are: h of the LSTMs, all of the
        state of an Elman network, none of `rx.lru`. Where that finds none, as under a read-out,
        what runs is `rx.rtrl`, with its memory, and a warning says so; `()` asks for just that.

    Raises:
      TypeError: `cell` is no cell; `observable` is no name; in use, params that are not floating.
      ValueError: in use, the state has no field of a name.

    Source: Bellec et al., 2020, "A solution to the learning dilemma for recurrent networks of
    spiking neurons".

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lstm(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> learner = rx.eprop(cell)
    >>> learner
    eprop(lstm(4))
    >>> memory = learner.init(params, jnp.ones(3))
    >>> memory, y, gradient = learner.step(params, memory, jnp.ones(3))
    >>> gradient(y).w_x.shape
    (3, 16)
    """
    cell = as_cell(cell)
    names = (observable,) if isinstance(observable, str) else observable
    if names is not None and not all(isinstance(name, str) for name in names):
        raise TypeError(
            f'eprop: observable must be names of fields of the state, such as "h", got {names!r}'
        )

    def step(params: PyTree, state: PyTree, x: PyTree, key: Any = None):
        cut = _named(state, names) if names is not None else _put_out(cell, params, state, x)
        if names is None and not any(jax.tree.leaves(cut)):
            warnings.warn(
                f"eprop({cell}): the step puts out nothing of its state as it is, so nothing is "
                f"cut and this is rx.rtrl. Name what units see of each other, such as "
                f'observable="h", or say observable=()',
                stacklevel=2,
            )
        held = jax.tree.map(lambda leaf, z: jax.lax.stop_gradient(leaf) if z else leaf, state, cut)
        return cell.step(params, held, x, key)

    return online_learner("eprop", dataclasses.replace(cell, step=step), in_blocks(None, True))


def _named(state: PyTree, names: Sequence[str]) -> PyTree:
    """Which leaves have one of the names on their path."""
    paths = [set(path_names(path)) for path, _ in jax.tree.leaves_with_path(state)]
    if unknown := set(names).difference(*paths) if paths else set(names):
        raise ValueError(
            f"eprop: observable: the state has no field {sorted(unknown)}; its fields are "
            f"{sorted(set().union(*paths))}"
        )
    return jax.tree.unflatten(jax.tree.structure(state), [bool(p & set(names)) for p in paths])


def _put_out(cell: Any, params: PyTree, state: PyTree, x: PyTree) -> PyTree:
    """Which leaves of the new state are among the outputs, as the same value of the program."""
    closed = jax.make_jaxpr(lambda *given: cell.step(*given))(params, state, x)
    leaves, treedef = jax.tree.flatten(state)
    after, ys = closed.jaxpr.outvars[: len(leaves)], closed.jaxpr.outvars[len(leaves) :]
    return treedef.unflatten([any(leaf is y for y in ys) for leaf in after])
