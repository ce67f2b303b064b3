"""Layers one above the other: `serial` over whole sequences, `stack` step by step."""

from __future__ import annotations

from typing import Any

import jax

from recurrax.compose.layers import (
    Unaligned,
    as_model,
    check_aligned,
    entries_of,
    keys_of,
    model_of,
    states_of,
)
from recurrax.core import Cell, PyTree, SequenceModel, as_cell, check_result, split_key


def serial(*layers: Any) -> SequenceModel:
    """Layers one above the other, each over the whole sequence: the stacked network.

    Each layer may be a `Cell` or a `SequenceModel`. Params and states are tuples, one entry a
    layer. Running layer by layer lets every layer's input projection be one product over all time
    steps; `stack` is the same network run step by step, for decoding.

    Above a layer that changes the time axis (`Unaligned`: `pool`, `autoregressive`) `length` and
    `resets` say nothing any more, and are not handed on.

    Args:
      *layers: bottom first; at least one.

    Raises:
      TypeError: an argument is neither a cell nor a sequence model; params or state are no tuple
        with one entry a layer. ValueError: no layers; with `length` or `resets`, a layer that is
        not `Unaligned` and changes the time axis.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.serial(rx.lstm(8), rx.dropout(0.1), rx.gru(4))
    >>> model
    serial(lstm(8), dropout(0.1), gru(4))
    >>> params = model.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> state, ys = model.apply(params, jnp.ones((5, 3)))
    >>> ys.shape
    (5, 4)
    """
    if not layers:
        raise ValueError("serial: expected at least one layer, got none")
    models = [as_model(layer) for layer in layers]
    name = f"serial({', '.join(map(repr, models))})"

    def init(key: jax.Array, xs: PyTree) -> tuple[PyTree, ...]:
        params = []
        for model, layer_key in zip(models, split_key(name, key, len(models)), strict=True):
            # Closed over below: params of one's own may hold functions, which are no arguments.
            p = model.init(layer_key, xs)
            xs = jax.eval_shape(
                lambda xs, m=model, p=p: check_result(f"{m}", m.apply(p, xs), "apply")[1], xs
            )
            params.append(p)
        return tuple(params)

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        states = []
        of_time = not getattr(made, "of_vector", False)
        for model, p, s, k in zip(
            models,
            entries_of(name, "params", params, len(models)),
            states_of(name, state, len(models)),
            keys_of(name, key, len(models)),
            strict=True,
        ):
            result = model.apply(p, xs, state=s, length=length, resets=resets, key=k)
            s, ys = check_result(f"{model}", result, "apply")
            states.append(s)
            if isinstance(model, Unaligned):
                length = resets = None
            elif of_time and not (length is None and resets is None):
                check_aligned(name, model, xs, ys)
            xs = ys
        return tuple(states), xs

    made = model_of(models, init, apply, name)
    return made


def stack(*cells: Any) -> Cell:
    """Cells one above the other as one `Cell`, for step-by-step use; params as in `serial`.

    Raises:
      TypeError: an argument is not a cell; params or state are no tuple with one entry a cell.
      ValueError: no cells.
    """
    if not cells:
        raise ValueError("stack: expected at least one cell, got none")
    layers = [as_cell(cell) for cell in cells]
    name = f"stack({', '.join(map(repr, layers))})"

    def init(key: jax.Array, x: PyTree) -> tuple[PyTree, ...]:
        params = []
        for cell, layer_key in zip(layers, split_key(name, key, len(layers)), strict=True):
            p = cell.init(layer_key, x)
            x = jax.eval_shape(
                lambda x, c=cell, p=p: check_result(f"{c}", c.step(p, c.initial_state(p), x))[1], x
            )
            params.append(p)
        return tuple(params)

    def initial_state(params):
        params = entries_of(name, "params", params, len(layers))
        return tuple(cell.initial_state(p) for cell, p in zip(layers, params, strict=True))

    def step(params, state, x, key=None):
        params = entries_of(name, "params", params, len(layers))
        state = entries_of(name, "state", state, len(layers))
        states = []
        for cell, p, s, k in zip(
            layers, params, state, keys_of(name, key, len(layers)), strict=True
        ):
            s, x = check_result(f"{cell}", cell.step(p, s, x, k))
            states.append(s)
        return tuple(states), x

    return Cell(init, initial_state, step, name)
