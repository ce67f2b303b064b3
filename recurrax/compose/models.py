"""Models of sequences out of models of sequences: serial, bidirectional, residual."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import Cell, PyTree, SequenceModel, as_cell, split_key
from recurrax.scan.unroll import mask_padding, unroll


def as_model(layer: Any) -> SequenceModel:
    """A cell as the sequence model that unrolls it; a sequence model as it is.

    Raises:
      TypeError: `layer` is neither.
    """
    if callable(getattr(layer, "init", None)) and callable(getattr(layer, "apply", None)):
        return layer
    cell = as_cell(layer)

    def init(key: jax.Array, xs: PyTree) -> PyTree:
        return cell.init(key, _first_step(xs))

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        return unroll(cell, params, xs, state=state, length=length, resets=resets, key=key)

    return SequenceModel(init, apply, repr(cell))


def _first_step(xs: PyTree) -> PyTree:
    """The shapes of one step of `xs`."""

    def first(leaf):
        if not getattr(leaf, "shape", ()):
            raise ValueError(f"xs: expected arrays with a leading time axis [T, ...], got {leaf!r}")
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

    return jax.tree.map(first, xs)


def _keys(name: str, key: jax.Array | None, count: int) -> list[jax.Array | None]:
    return [None] * count if key is None else list(split_key(name, key, count))


def _entries(name: str, argument: str, value: Any, count: int) -> tuple[Any, ...]:
    """`value`, checked to be a tuple with one entry for each of `count` layers."""
    if not isinstance(value, tuple) or len(value) != count:
        got = f"one of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        raise TypeError(f"{name}: {argument} must be a tuple of {count}, one a layer, got {got}")
    return value


def _states(name: str, state: Any, count: int) -> tuple[Any, ...]:
    """The layers' states; of None, None for each."""
    return (None,) * count if state is None else _entries(name, "state", state, count)


def serial(*layers: Any) -> SequenceModel:
    """Layers one above the other, each over the whole sequence: the stacked network.

    Each layer may be a `Cell` or a `SequenceModel`. Params and states are tuples, one entry a
    layer. Running layer by layer lets every layer's input projection be one product over all time
    steps; `stack` is the same network run step by step, for decoding.

    Args:
      *layers: bottom first; at least one.

    Raises:
      TypeError: an argument is neither a cell nor a sequence model; params or state are no tuple
        with one entry a layer. ValueError: no layers.

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
            params.append(model.init(layer_key, xs))
            xs = jax.eval_shape(lambda p, xs, m=model: m.apply(p, xs)[1], params[-1], xs)
        return tuple(params)

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        states = []
        for model, p, s, k in zip(
            models,
            _entries(name, "params", params, len(models)),
            _states(name, state, len(models)),
            _keys(name, key, len(models)),
            strict=True,
        ):
            s, xs = model.apply(p, xs, state=s, length=length, resets=resets, key=k)
            states.append(s)
        return tuple(states), xs

    return SequenceModel(init, apply, name)


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
            params.append(cell.init(layer_key, x))
            x = jax.eval_shape(
                lambda p, x, c=cell: c.step(p, c.initial_state(p), x)[1], params[-1], x
            )
        return tuple(params)

    def initial_state(params):
        params = _entries(name, "params", params, len(layers))
        return tuple(cell.initial_state(p) for cell, p in zip(layers, params, strict=True))

    def step(params, state, x, key=None):
        params = _entries(name, "params", params, len(layers))
        state = _entries(name, "state", state, len(layers))
        states = []
        for cell, p, s, k in zip(layers, params, state, _keys(name, key, len(layers)), strict=True):
            s, x = cell.step(p, s, x, k)
            states.append(s)
        return tuple(states), x

    return Cell(init, initial_state, step, name)


class Bidirectional(NamedTuple):
    """What belongs to the two directions: their params, or their states."""

    forward: Any
    backward: Any


_MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
}


def bidirectional(forward: Any, backward: Any, *, merge: str = "concat") -> SequenceModel:
    """Two cells, one run from each end of the sequence (Schuster and Paliwal, 1997).

        y_t = merge(forward y_t, backward y_t)

    With a `length` the backward cell starts at the last valid step. The backward direction always
    sees a whole sequence: in the `state` that is handed in, `backward` starts it at its end.

    Args:
      forward, backward: cells.
      merge: "concat" on the last axis, "sum" or "mean".

    Raises:
      TypeError: an argument is not a cell; params or state are no pair. ValueError: unknown
        `merge`; "sum" or "mean" of outputs of unequal shapes.
    """
    forward, backward = as_cell(forward), as_cell(backward)
    if merge not in _MERGES:
        raise ValueError(f"bidirectional: merge must be one of {list(_MERGES)}, got {merge!r}")
    name = f"bidirectional({forward}, {backward}, merge={merge!r})"
    if merge == "concat":
        name = f"bidirectional({forward}, {backward})"

    def init(key: jax.Array, xs: PyTree) -> Bidirectional:
        key_f, key_b = split_key(name, key)
        x = _first_step(xs)
        return Bidirectional(forward.init(key_f, x), backward.init(key_b, x))

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        params = Bidirectional(*_entries(name, "params", params, 2))
        state = Bidirectional(*_states(name, state, 2))
        key_f, key_b = _keys(name, key, 2)
        run = functools.partial(unroll, xs=xs, length=length, resets=resets)
        state_f, ys_f = run(forward, params.forward, state=state.forward, key=key_f)
        state_b, ys_b = run(
            backward, params.backward, state=state.backward, key=key_b, reverse=True
        )
        if merge != "concat":
            _check_same_shapes(name, "the forward output", ys_f, "the backward output", ys_b)
        return Bidirectional(state_f, state_b), jax.tree.map(_MERGES[merge], ys_f, ys_b)

    return SequenceModel(init, apply, name)


def _check_same_shapes(name: str, one: str, xs: PyTree, other: str, ys: PyTree) -> None:
    """Raises where two trees cannot be added leaf by leaf; broadcasting would do it in silence."""
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (xs, ys)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name}: {one} must have the shape of {other}, got {shapes[0]} and {shapes[1]}"
        )


def residual(layer: Any) -> SequenceModel:
    """A skip around a layer: y = x + layer(x) (He et al., 2016; recurrent: Wu et al., 2016).

    With a `length`, what lies past it is zero, as everywhere.

    Raises:
      TypeError: `layer` is neither a cell nor a sequence model.
      ValueError: the layer's output has another shape than its input.
    """
    model = as_model(layer)
    name = f"residual({model})"

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        _, xs = mask_padding(xs, length)
        state, ys = model.apply(params, xs, state=state, length=length, resets=resets, key=key)
        _check_same_shapes(name, "the layer's input", xs, "its output", ys)
        return state, jax.tree.map(jnp.add, xs, ys)

    return SequenceModel(model.init, apply, name)
