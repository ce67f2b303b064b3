"""The vocabulary: `Cell`, `SequenceModel`, and the checks that every evaluator shares.

A cell is three pure functions, written for one example and one time step. A sequence model is two
pure functions over a whole sequence; it may look at the future. Nothing here knows how a sequence
is evaluated.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from recurrax.checks import check_count

PyTree = Any
Key = jax.Array


@dataclasses.dataclass(frozen=True, repr=False)
class Cell:
    """One step of a recurrence, for one example.

    `init(key, x) -> params` consumes the key; `x` is one step's input, an array or a
    `jax.ShapeDtypeStruct`. `initial_state(params) -> state`, no array twice, so that a state can be
    donated. `step(params, state, x, key=None) -> (state, y)`; without a key the step is
    deterministic (evaluation). The order is that of `jax.lax.scan`, so
    `functools.partial(cell.step, params)` is a scan body.

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
      TypeError: an attribute is missing or not callable; `step` does not take (params, state, x).
    """
    for part in ("init", "initial_state", "step"):
        if not callable(getattr(cell, part, None)):
            hint = ""
            if callable(getattr(cell, "apply", None)):
                hint = ". A sequence model is run by its apply"
            elif type(cell) in (list, tuple):
                hint = ". Layers are arguments of their own: serial(*layers)"
            elif callable(cell):
                hint = ". A factory is called first, as rx.lstm(128)"
            raise TypeError(
                f"cell: expected an object with functions init, initial_state and step, got "
                f"{cell!r}, whose {part!r} is {getattr(cell, part, 'missing')!r}{hint}"
            )
    name = getattr(cell, "name", None) or type(cell).__name__
    step = _with_key(name, cell.step)
    if isinstance(cell, Cell) and step is cell.step:
        return cell
    return Cell(cell.init, cell.initial_state, step, name)


def _with_key(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with a key as its fourth argument, whether it takes one so, by name only, or not.

    A fourth argument of another name is no key where there is one named so, nor where its default
    is not None: `scale=2.0`.
    """
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):  # a builtin without a signature
        return step

    def takes(*arguments: Any, **named: Any) -> bool:
        try:
            signature.bind(*arguments, **named)
        except TypeError:
            return False
        return True

    named = signature.parameters.get("key")
    fourth = next(itertools.islice(signature.parameters.values(), 3, None), None)
    if named is None:
        is_key = fourth is None or fourth.default is None or fourth.default is fourth.empty
    else:
        is_key = fourth is named
    if is_key and takes(None, None, None, None):
        return step
    if takes(None, None, None, key=None):
        return lambda params, state, x, key=None: step(params, state, x, key=key)
    if takes(None, None, None):
        return lambda params, state, x, key=None: step(params, state, x)
    raise TypeError(f"{name}: step must take (params, state, x) or also a key, got {signature}")


def check_result(name: str, result: Any, function: str = "step") -> tuple[PyTree, PyTree]:
    """What a step, or a model's `apply`, returned: raises where it is no pair."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name}: {function} must return (state, y), got {result!r}")
    return result


def split_key(name: str, key: Any, count: int = 2) -> jax.Array:
    """`jax.random.split`, with an error that says whose key it was."""
    try:
        return jax.random.split(key, count)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: key must be one jax.random.key, got {key!r}") from error


def check_input(name: str, x: Any, width: int) -> None:
    """Raises where `x`, one step's input, is not a vector of `width` floats."""
    check_floating(name, x)
    shape = x.shape
    if len(shape) != 1:
        raise ValueError(
            f"{name}: x must be one step of one example, of shape [D={width}], got shape "
            f"{shape}. Cells have no batch axis: use jax.vmap for the batch and rx.unroll for time"
        )
    if shape[0] != width:
        raise ValueError(f"{name}: x has width {shape[0]}, but init made weights for width {width}")


def check_floating(name: str, x: Any, argument: str = "x") -> None:
    """Raises where `x` is not an array of a floating dtype."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        raise TypeError(f"{name}: {argument} must be an array, got {type(x).__name__}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name}: {argument} must be floating, got {x.dtype}. Embed or cast it")


def input_struct(
    name: str, x: Any, argument: str = "x", axes: tuple[str, ...] = ("D",)
) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an example that `init` was given, checked to have these axes.

    The dtype is the one that JAX will compute in: NumPy's float64 may mean float32.
    """
    check_floating(f"{name}.init", x, argument)
    if len(x.shape) != len(axes) or x.shape[-1] == 0:
        hint = ""
        if not x.shape:
            hint = ". A model is made for a whole sequence; above pooling, use rx.one_step(cell)"
        raise ValueError(
            f"{name}.init: {argument} must be of one example, of shape [{', '.join(axes)}] with "
            f"{axes[-1]} > 0, got shape {tuple(x.shape)}"
            f"{hint}"
        )
    return jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype))


def check_params(name: str, params: Any, expected: type, **shapes: tuple[int, ...]) -> None:
    """Raises where `params` is not what `init` makes, of these shapes where given."""
    if not isinstance(params, expected):
        raise TypeError(
            f"{name}: params must be the {expected.__name__} that init makes, got "
            f"{type(params).__name__}. Call params = init(key, ...) first"
        )
    for field, shape in shapes.items():
        if jnp.shape(getattr(params, field)) != shape:
            raise ValueError(
                f"{name}: params.{field} must have shape {shape}, got "
                f"{jnp.shape(getattr(params, field))}; were they made for another width?"
            )


def check_function(name: str, argument: str, value: Any) -> None:
    """Raises where an argument that must be a function is, for example, its name."""
    if not callable(value):
        raise TypeError(f"{name}: {argument} must be a function, got {value!r}")


def check_features(name: str, features: Any) -> int:
    """A positive number of features, or an error that says which factory was called wrongly."""
    check_count(name, "features", features)
    return features


def check_length(length: Any, steps: int) -> jax.Array:
    """`length` as an integer scalar in [0, steps]: checked where its value is known, else clipped.

    Raises:
      TypeError: not an integer. ValueError: not a scalar, or out of range.
    """
    if isinstance(length, bool) or not (isinstance(length, int) or hasattr(length, "dtype")):
        raise TypeError(f"length: expected an integer, got {length!r}")
    if not jnp.issubdtype(jnp.result_type(length), jnp.integer):
        raise TypeError(f"length: expected an integer, got dtype {jnp.result_type(length)}")
    if jnp.shape(length) != ():
        raise ValueError(
            f"length: expected one number for one sequence, got shape {jnp.shape(length)}. "
            f"Use jax.vmap for the batch"
        )
    if isinstance(length, jax.core.Tracer):
        return jnp.clip(length.astype(jnp.int32), 0, steps)
    if not 0 <= int(length) <= steps:
        raise ValueError(f"length: expected a number from 0 to {steps}, got {length}")
    return jnp.asarray(length)


def check_state(name: str, state: PyTree, expected: PyTree, *, dtypes: bool = False) -> None:
    """Raises where an argument `state` has not the structure, shapes or dtypes that it should."""
    what, leaf, wanted, got = _difference(expected, state, dtypes)
    if what:
        error = ValueError if what == "shape" else TypeError
        raise error(f"{name}: {leaf} must have the {what} {wanted}, got {got}")


def check_same_state(name: str, before: PyTree, after: PyTree) -> None:
    """Raises where one step changed the structure, a shape or a dtype of the state.

    A state whose dtype drifts would be cast, or recompiled for, in silence.
    """
    what, leaf, old, new = _difference(before, after, dtypes=True)
    if what == "structure":
        raise TypeError(
            f"{name}: step must return a state of the structure that it was given, {old}, got {new}"
        )
    if what == "shape":
        raise ValueError(
            f"{name}: step changed the shape of {leaf} from {old} to {new}; a state keeps its "
            f"shape from step to step"
        )
    if what == "dtype":
        raise TypeError(
            f"{name}: step changed the dtype of {leaf} from {old} to {new}; cast the input, the "
            f"params or the initial state so that all agree"
        )


def _shape(leaf: Any) -> tuple[int, ...]:
    """Of an array, a `jax.ShapeDtypeStruct` or a Python number."""
    return leaf.shape if hasattr(leaf, "shape") else jnp.shape(leaf)


def _difference(expected: PyTree, got: PyTree, dtypes: bool) -> tuple[str, str, Any, Any]:
    """Where two states differ first: what ("" for nothing), the leaf's path, and both sides."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(expected)
    if treedef != jax.tree.structure(got):
        return "structure", "state", treedef, jax.tree.structure(got)
    for (path, a), b in zip(leaves, jax.tree.leaves(got), strict=True):
        leaf = f"state{jax.tree_util.keystr(path)}"
        if _shape(a) != _shape(b):
            return "shape", leaf, _shape(a), _shape(b)
        if dtypes and jnp.result_type(a) != jnp.result_type(b):
            return "dtype", leaf, jnp.result_type(a), jnp.result_type(b)
    return "", "", None, None
