"""The vocabulary: `Cell`, `SequenceModel`, and the checks that every evaluator shares.

A cell is three pure functions, written for one example and one time step. A sequence model is two
pure functions over a whole sequence; it may look at the future. Nothing here knows how a sequence
is evaluated.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
Key = jax.Array


@dataclasses.dataclass(frozen=True, repr=False)
class Cell:
    """One step of a recurrence, for one example.

    `init(key, x) -> params` consumes the key; `x` is one step's input, an array or a
    `jax.ShapeDtypeStruct`. `initial_state(params) -> state`. `step(params, state, x, key=None) ->
    (state, y)`; without a key the step is deterministic (evaluation). The order is `jax.lax.scan`'s,
    so `functools.partial(cell.step, params)` is a scan body.

    A cell of one's own may leave out the key, and need not even be a `Cell`: whatever has these
    three attributes is accepted (see `as_cell`).

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> accumulate = rx.Cell(
    ...     init=lambda key, x: jnp.ones(()),
    ...     initial_state=lambda params: jnp.zeros(()),
    ...     step=lambda params, state, x: (params * state + x, state),
    ...     name="accumulate",
    ... )
    >>> accumulate
    accumulate
    >>> state, ys = rx.unroll(accumulate, jnp.ones(()), jnp.arange(4.0))
    >>> print(state, ys)
    6.0 [0. 0. 1. 3.]
    """

    init: Callable[..., PyTree]
    initial_state: Callable[[Any], PyTree]
    step: Callable[..., tuple[PyTree, PyTree]]
    name: str = "cell"

    def __repr__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, repr=False)
class SequenceModel:
    """A model of whole sequences, for one example: it may see the future (bidirectional, pooled).

    `init(key, xs) -> params` consumes the key; `xs` has the time axis first, arrays or
    `jax.ShapeDtypeStruct`s. `apply(params, xs, *, state=None, length=None, resets=None, key=None)
    -> (state, ys)`, with the meaning that these arguments have in `unroll`.
    """

    init: Callable[..., PyTree]
    apply: Callable[..., tuple[PyTree, PyTree]]
    name: str = "sequence_model"

    def __repr__(self) -> str:
        return self.name


def as_cell(cell: Any) -> Cell:
    """Accepts anything with `init`, `initial_state` and `step`; gives `step` its `key` argument.

    Raises:
      TypeError: an attribute is missing or not callable.
    """
    for part in ("init", "initial_state", "step"):
        if not callable(getattr(cell, part, None)):
            raise TypeError(
                f"cell: expected an object with functions init, initial_state and step, got "
                f"{cell!r}, whose {part!r} is {getattr(cell, part, 'missing')!r}"
            )
    if isinstance(cell, Cell) and _takes_key(cell.step):
        return cell
    step = cell.step
    if not _takes_key(step):
        keyless = step

        def step(params, state, x, key=None):
            del key
            return keyless(params, state, x)

    name = getattr(cell, "name", None) or type(cell).__name__
    return Cell(cell.init, cell.initial_state, step, name)


def _takes_key(step: Callable[..., Any]) -> bool:
    """Whether `step` can be called as `step(params, state, x, key)`."""
    try:
        inspect.signature(step).bind(None, None, None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def check_input(name: str, x: Any, width: int) -> None:
    """Raises where `x`, one step's input, is not a vector of `width` floats."""
    shape = jnp.shape(x)
    if len(shape) != 1:
        raise ValueError(
            f"{name}: x must be one step of one example, of shape [D={width}], got shape "
            f"{shape}. Cells have no batch axis: use jax.vmap for the batch and rx.unroll for time"
        )
    if shape[0] != width:
        raise ValueError(f"{name}: x has width {shape[0]}, but init made weights for width {width}")
    check_floating(name, x)


def check_floating(name: str, x: Any) -> None:
    """Raises where `x` is not of a floating dtype."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name}: x must be floating, got {x.dtype}. Embed or cast it first")


def input_struct(name: str, x: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of the example input that `init` was given, checked to be a vector."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        raise TypeError(
            f"{name}.init: x must be an array or a jax.ShapeDtypeStruct, got {type(x).__name__}"
        )
    if len(x.shape) != 1 or x.shape[0] == 0:
        raise ValueError(
            f"{name}.init: x must be one step's input for one example, of shape [D] with D > 0, "
            f"got shape {tuple(x.shape)}"
        )
    check_floating(f"{name}.init", x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def check_params(name: str, params: Any, expected: type) -> None:
    """Raises where `params` is not what `init` makes."""
    if not isinstance(params, expected):
        raise TypeError(
            f"{name}: params must be the {expected.__name__} that init makes, got "
            f"{type(params).__name__}. Call params = cell.init(key, x) first"
        )


def check_features(name: str, features: Any) -> int:
    """A positive number of features, or an error that says which factory was called wrongly."""
    if isinstance(features, bool) or not isinstance(features, int):
        raise TypeError(f"{name}: features must be an int, got {features!r}")
    if features < 1:
        raise ValueError(f"{name}: features must be at least 1, got {features}")
    return features


def check_same_state(name: str, before: PyTree, after: PyTree) -> None:
    """Raises where one step changed the structure, a shape or a dtype of the state.

    A state whose dtype drifts would be cast, or recompiled for, in silence.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(before)
    new_treedef = jax.tree.structure(after)
    if treedef != new_treedef:
        raise TypeError(
            f"{name}: step must return a state of the structure that it was given, {treedef}, "
            f"got {new_treedef}"
        )
    for (path, old), new in zip(leaves, jax.tree.leaves(after), strict=True):
        leaf = f"state{jax.tree_util.keystr(path)}"
        if jnp.shape(old) != jnp.shape(new):
            raise ValueError(
                f"{name}: step changed the shape of {leaf} from {jnp.shape(old)} to "
                f"{jnp.shape(new)}; a state keeps its shape from step to step"
            )
        if jnp.result_type(old) != jnp.result_type(new):
            raise TypeError(
                f"{name}: step changed the dtype of {leaf} from {jnp.result_type(old)} to "
                f"{jnp.result_type(new)}; cast the input, the params or the initial state so that "
                f"all agree"
            )
