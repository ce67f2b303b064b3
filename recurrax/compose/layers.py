"""What a layer is: a cell or a model of sequences, its keys, its entry in params and state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.core import PyTree, SequenceModel, as_cell, split_key
from recurrax.scan.unroll import unroll


@dataclasses.dataclass(frozen=True, repr=False)
class Unaligned(SequenceModel):
    """A `SequenceModel` whose outputs have another time axis than its inputs, or none.

    Pooling is one, and so is a vector that drives a sequence. `length` and `resets` speak of the
    time axis of the inputs: in `serial` they end here and do not reach the layers above.
    `of_vector` says that the inputs have none.
    """

    of_vector: bool = False


def is_model(layer: Any) -> bool:
    """Whether `layer` is a model of whole sequences, and not one step of a cell."""
    return callable(getattr(layer, "init", None)) and callable(getattr(layer, "apply", None))


def as_model(
    layer: Any,
    *,
    reverse: bool = False,
    checkpoint: Any = None,
    precision: Any = None,
    method: str | None = None,
) -> SequenceModel:
    """A cell as the sequence model that unrolls it; a sequence model as it is.

    How the cell is computed is an argument here as in `unroll`, so that each layer of a network
    can have its own.

    Args:
      layer: a cell, or a sequence model, which takes none of the options.
      reverse, checkpoint, precision, method: of `rx.unroll`.

    Raises:
      TypeError: `layer` is neither; or it is a sequence model, and there are options.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.serial(
    ...     rx.as_model(rx.min_gru(8), method="associative"),
    ...     rx.as_model(rx.lstm(4), checkpoint="sqrt"),
    ... )
    >>> model
    serial(min_gru(8), lstm(4))
    >>> params = model.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> model.apply(params, jnp.ones((5, 3)))[1].shape
    (5, 4)
    """
    options = {"checkpoint": checkpoint, "precision": precision, "method": method}
    if is_model(layer):
        given = [name for name, value in options.items() if value is not None]
        if given or reverse:
            raise TypeError(
                f"as_model: {', '.join(given) or 'reverse'} is how a cell is unrolled, and {layer} "
                f"is a model of sequences: give it to the cells within"
                + ("; rx.reverse turns a model round" if reverse else "")
            )
        return layer
    cell = as_cell(layer)

    def init(key: jax.Array, xs: PyTree) -> PyTree:
        return cell.init(key, first_step(xs))

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        given = {"state": state, "length": length, "resets": resets, "key": key}
        return unroll(cell, params, xs, reverse=reverse, **given, **options)

    return SequenceModel(init, apply, f"reverse({cell})" if reverse else repr(cell))


def model_of(layers: Iterable[Any], init: Any, apply: Any, name: str) -> SequenceModel:
    """A model made of `layers`: `Unaligned` where one of them is, of what the first such is of."""
    unaligned = [layer for layer in layers if isinstance(layer, Unaligned)]
    if not unaligned:
        return SequenceModel(init, apply, name)
    return Unaligned(init, apply, name, unaligned[0].of_vector)


def first_step(xs: PyTree) -> PyTree:
    """The shapes of one step of `xs`."""

    def first(leaf):
        if not getattr(leaf, "shape", ()):
            raise ValueError(f"xs: expected arrays with a leading time axis [T, ...], got {leaf!r}")
        return jax.ShapeDtypeStruct(leaf.shape[1:], jnp.result_type(leaf))

    return jax.tree.map(first, xs)


def check_aligned(name: str, layer: Any, xs: PyTree, ys: PyTree) -> None:
    """Raises where `ys` have another time axis than `xs`, which the layers above would not see."""
    before, after = ({jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)} for tree in (xs, ys))
    if not after <= before:
        raise ValueError(
            f"{name}: {layer} must keep the time axis, or be an rx.Unaligned, got "
            f"{jax.tree.map(jnp.shape, ys)} of {jax.tree.map(jnp.shape, xs)}"
        )


def keys_of(name: str, key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """One key for each of `count` layers; of None, None for each."""
    return [None] * count if key is None else list(split_key(name, key, count))


def entries_of(name: str, argument: str, value: Any, count: int) -> tuple[Any, ...]:
    """`value`, checked to be a tuple with one entry for each of `count` layers."""
    if not isinstance(value, tuple) or len(value) != count:
        got = f"one of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        raise TypeError(f"{name}: {argument} must be a tuple of {count}, one a layer, got {got}")
    return value


def states_of(name: str, state: Any, count: int) -> tuple[Any, ...]:
    """The layers' states; of None, None for each."""
    return (None,) * count if state is None else entries_of(name, "state", state, count)
