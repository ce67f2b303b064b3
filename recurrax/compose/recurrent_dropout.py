"""Dropout inside the recurrence, with one mask a sequence: of weights, of rows, of the state.

A step is handed a new key each time, so what is to stay the same over a sequence is drawn before
the loop: these are sequence models. Their params are those of the layer inside; a decoder evaluates
step by step with that layer itself, and trains so with `drop_weights`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.compose.dropout import drop
from recurrax.compose.layers import as_model, first_step, model_of
from recurrax.compose.rates import check_rate, check_rates, is_inexact, path_names, state_rates
from recurrax.core import PyTree, SequenceModel, as_cell, split_key
from recurrax.scan.unroll import unroll


def drop_weights(
    key: jax.Array | None,
    params: PyTree,
    rate: float,
    names: str | Sequence[str] = ("w_h",),
    *,
    rows: bool = False,
) -> PyTree:
    """Params in which the named weights went through `drop`: noise once, for any number of steps.

    Args:
      key: consumed; None returns `params` as they are.
      params: of any cell or model.
      rate: in [0, 1). What is kept is scaled by 1 / (1 - rate).
      names: of the fields to drop from, at any depth. Each leaf has a mask of its own.
      rows: drops whole rows of matrices [.., H, F], hence units of what they multiply; of a vector,
        elements.

    Raises:
      TypeError: `rate` is no number; `key` no key; a named leaf no array of floats.
      ValueError: `rate` outside [0, 1); a name that is in no path of `params`.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> params = rx.lstm(2).init(jax.random.key(0), jnp.ones(3))
    >>> print((rx.drop_weights(jax.random.key(1), params, 0.5, rows=True).w_h == 0).astype(int))
    [[0 0 0 0 0 0 0 0]
     [1 1 1 1 1 1 1 1]]
    """
    check_rate("drop_weights", rate)
    names = (names,) if isinstance(names, str) else tuple(names)
    leaves, treedef = jax.tree.flatten_with_path(params)
    fields = [path_names(path) for path, _ in leaves]
    if not names or set(names) - {name for path in fields for name in path}:
        raise ValueError(
            f"drop_weights: names must be of fields of params, "
            f"{sorted({path[-1] for path in fields if path})}, got {list(names)}"
        )
    keys = [None] * len(leaves) if key is None else split_key("drop_weights", key, len(leaves))
    dropped = []
    for (_, leaf), path, leaf_key in zip(leaves, fields, keys, strict=True):
        if set(path) & set(names):
            shape = (leaf.shape[-2], 1) if rows and jnp.ndim(leaf) > 1 else None
            leaf = drop(leaf_key, leaf, rate, shape)
        dropped.append(leaf)
    return jax.tree.unflatten(treedef, dropped)


def weight_dropout(layer: Any, rate: float, names: str | Sequence[str] = ("w_h",)) -> SequenceModel:
    """DropConnect on recurrent weights (Wan et al., 2013; AWD-LSTM: Merity et al., 2018).

        s_t, y_t = step(M * W, s_{t-1}, x_t),    M ~ Bernoulli(1 - rate) / (1 - rate), once

    Without a key, the layer as it is. Under `jax.vmap` over keys every example has a masked copy of
    the weights; with one key for the batch, as Merity et al. do, there is one copy.

    Args:
      layer: a cell or a sequence model; a `bidirectional` drops from both of its directions.
      rate: in [0, 1).
      names: of the fields of the params to drop from, at any depth.

    Raises:
      TypeError: `layer` is neither; `rate` is no number.
      ValueError: `rate` outside [0, 1); a name that is in no path of the params.

    >>> import recurrax as rx
    >>> rx.serial(rx.weight_dropout(rx.lstm(8), 0.5), rx.dropout(0.4, variational=True))
    serial(weight_dropout(lstm(8), 0.5), dropout(0.4, variational=True))
    """
    return _noisy_params("weight_dropout", layer, rate, names, rows=False)


def recurrent_dropout(
    layer: Any, rate: float, names: str | Sequence[str] = ("w_h",)
) -> SequenceModel:
    """Variational dropout of the recurrent input (Gal and Ghahramani, 2016).

        (m * h_{t-1}) W_h,    m ~ Bernoulli(1 - rate) / (1 - rate), once a sequence

    for every product with W_h, in all gates alike (Keras: `recurrent_dropout`). It is done as
    h_{t-1} (m W_h), as rows of the weights. So it reaches the products alone: a mask on the state
    itself would also scale the path on which a GRU carries h_{t-1} over, by 1 / (1 - rate) a step.

    Under `jax.vmap` over keys every example has a copy of W_h. Where the state enters nothing but
    products (Elman; h of an LSTM), `state_dropout` is the same network without copies.

    Semeniuta et al. (2016) drop the candidate within the step. No wrapper of a step reaches it; a
    cell of one's own draws that mask with `drop` and the key that its step is handed.

    Args:
      layer: a cell or a sequence model.
      rate: in [0, 1).
      names: of the recurrent weights: matrices [.., H, F], or vectors [H] that multiply h. Where
        they are several (the modules of `clockwork`), each has an m of its own.

    Raises:
      TypeError: `layer` is neither; `rate` is no number.
      ValueError: `rate` outside [0, 1); a name that is in no path of the params.
    """
    return _noisy_params("recurrent_dropout", layer, rate, names, rows=True)


def _noisy_params(
    kind: str, layer: Any, rate: float, names: str | Sequence[str], rows: bool
) -> SequenceModel:
    check_rate(kind, rate)
    model = as_model(layer)
    name = f"{kind}({model}, {rate})"

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        mask_key, key = (None, None) if key is None else split_key(name, key)
        params = drop_weights(mask_key, params, rate, names, rows=rows)
        return model.apply(params, xs, state=state, length=length, resets=resets, key=key)

    return model_of([model], model.init, apply, name)


def state_dropout(cell: Any, rate: float | Mapping[str, float] | PyTree) -> SequenceModel:
    """Dropout on the state that enters each step, with one mask a sequence.

        s_t, y_t = step(m * s_{t-1}, x_t),    m ~ Bernoulli(1 - rate) / (1 - rate), once

    With `{"h": rate}` on an LSTM it is the variational dropout of Gal and Ghahramani (2016), with
    `{"c": rate}` rnnDrop (Moon et al., 2015). Where a state is carried over (c of an LSTM, h of a
    GRU) what is kept is scaled at every step and may grow: see `recurrent_dropout`.

    Without a key, the cell as it is. Leaves that are not floating are left alone.

    Args:
      cell: any cell.
      rate: as in `zoneout`: a number, rates by the name of a field, or a tree of them.

    Raises:
      TypeError: `cell` is no cell; a rate is no number, or names a leaf that is not floating.
      ValueError: a rate outside [0, 1); a name or a structure that is not the state's.
    """
    cell = as_cell(cell)
    name = f"state_dropout({cell}, {rate})"
    floats = check_rates("state_dropout", rate)

    def init(key: jax.Array, xs: PyTree) -> PyTree:
        return cell.init(key, first_step(xs))

    def masks_of(key, state):
        leaves, treedef = jax.tree.flatten(state)
        rates = jax.tree.leaves(state_rates(name, floats, state))
        masks = [
            drop(k, jnp.ones(leaf.shape), r).astype(leaf.dtype) if is_inexact(leaf) else None
            for k, leaf, r in zip(split_key(name, key, len(leaves)), leaves, rates, strict=True)
        ]
        return masks, treedef

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        noisy = cell
        if key is not None:
            mask_key, key = split_key(name, key)
            masks, treedef = masks_of(mask_key, cell.initial_state(params))

            def step(params, state, x, key=None):
                leaves = zip(jax.tree.leaves(state), masks, strict=True)
                dropped = [s if mask is None else s * mask for s, mask in leaves]
                return cell.step(params, jax.tree.unflatten(treedef, dropped), x, key)

            noisy = dataclasses.replace(cell, step=step)
        return unroll(noisy, params, xs, state=state, length=length, resets=resets, key=key)

    return SequenceModel(init, apply, name)
