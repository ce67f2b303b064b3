"""Connections around layers: `residual` adds, `densely_connected` concatenates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.compose.bidirectional import check_same_shapes
from recurrax.compose.layers import is_model, model_of
from recurrax.compose.models import serial, stack
from recurrax.core import Cell, PyTree, SequenceModel, as_cell, check_floating, check_result
from recurrax.scan.unroll import mask_padding


def residual(layer: Any) -> Cell | SequenceModel:
    """A skip around a layer: y = x + layer(x) (He et al., 2016; recurrent: Wu et al., 2016).

    With a `length`, what lies past it is zero, as everywhere.

    Args:
      layer: a cell, of which this makes a cell; or a sequence model, of which it makes a model.

    Raises:
      TypeError: `layer` is neither a cell nor a sequence model.
      ValueError: the layer's output has another shape than its input.
    """
    name = f"residual({layer if is_model(layer) else as_cell(layer)})"

    def add(x: PyTree, y: PyTree) -> PyTree:
        check_same_shapes(name, "the layer's input", x, "its output", y)
        return jax.tree.map(jnp.add, x, y)

    return _skip(layer, name, add)


def densely_connected(*layers: Any) -> Cell | SequenceModel:
    """Layers that see all that came before them (Huang et al., 2017; recurrent: Ding et al., 2018).

        y^0 = x,    y^l = [y^{l-1}, layer_l(y^{l-1})],    y = y^L

    The output is the input and every layer's output side by side, so that a chain of these is one
    of them, and a layer on top has the skips of Graves (2013) from every layer to the output.

    Args:
      *layers: bottom first; at least one. Of cells alone this makes a cell, otherwise a sequence
        model. Params and states are tuples, one entry a layer.

    Raises:
      TypeError: an argument is neither a cell nor a sequence model; an input or output is no array
        of floats; params or state are no tuple with one entry a layer.
      ValueError: no layers; a layer whose output differs from its input in more than the last axis.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.densely_connected(rx.lstm(8), rx.gru(4))
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> params[1].w_x.shape
    (11, 12)
    >>> rx.unroll(cell, params, jnp.ones((5, 3)))[1].shape
    (5, 15)
    """
    if not layers:
        raise ValueError("densely_connected: expected at least one layer, got none")
    parts = [layer if is_model(layer) else as_cell(layer) for layer in layers]
    name = f"densely_connected({', '.join(map(repr, parts))})"

    def join(x: jax.Array, y: jax.Array) -> jax.Array:
        check_floating(name, x, "a layer's input")
        check_floating(name, y, "a layer's output")
        if not x.ndim or x.ndim != y.ndim or x.shape[:-1] != y.shape[:-1]:
            raise ValueError(
                f"{name}: a layer's output must have the shape of its input but for the last axis, "
                f"got {x.shape} and {y.shape}"
            )
        return jnp.concatenate([x, y], axis=-1)

    chain = serial if any(map(is_model, parts)) else stack
    return dataclasses.replace(chain(*(_skip(part, name, join) for part in parts)), name=name)


def _skip(layer: Any, name: str, join: Callable[[Any, Any], Any]) -> Cell | SequenceModel:
    """y = join(x, layer(x)): of a cell a cell, of a sequence model a sequence model."""
    if is_model(layer):

        def apply(params, xs, *, state=None, length=None, resets=None, key=None):
            _, xs = mask_padding(xs, length)
            result = layer.apply(params, xs, state=state, length=length, resets=resets, key=key)
            state, ys = check_result(f"{layer}", result, "apply")
            return state, join(xs, ys)

        return model_of([layer], layer.init, apply, name)
    cell = as_cell(layer)

    def step(params, state, x, key=None):
        state, y = check_result(f"{cell}", cell.step(params, state, x, key))
        return state, join(x, y)

    return Cell(cell.init, cell.initial_state, step, name)
