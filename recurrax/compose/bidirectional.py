"""Time turned round: `reverse`, and `bidirectional`, which looks from both ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.compose.layers import (
    Unaligned,
    as_model,
    check_aligned,
    entries_of,
    is_model,
    keys_of,
    model_of,
    states_of,
)
from recurrax.core import PyTree, SequenceModel, check_length, split_key
from recurrax.scan.unroll import time_steps


def reverse(layer: Any) -> SequenceModel:
    """A layer run from the last valid step down to the first (Keras: `go_backwards`).

    The outputs stay at their own time steps. Sequences in packed data keep apart.

    Args:
      layer: a cell, run so by `unroll`; or a sequence model, which gets the valid part of `xs`
        turned round. What an `Unaligned` one returns is left as it is.

    Raises:
      TypeError: `layer` is neither. ValueError: it is a model of one vector, such as `one_step`; it
        is not `Unaligned` and changes the time axis.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> total = rx.Cell(lambda key, x: (), lambda params: jnp.zeros(()),
    ...                 lambda params, s, x: (s + x, s + x), name="total")
    >>> print(rx.reverse(total).apply((), jnp.array([1.0, 2.0, 3.0, 9.0]), length=3)[1])
    [6. 5. 3. 0.]
    """
    return _turned_round(layer) if is_model(layer) else as_model(layer, reverse=True)


def _turned_round(model: SequenceModel) -> SequenceModel:
    if isinstance(model, Unaligned) and model.of_vector:
        raise ValueError(
            f"reverse: layer must have inputs with a time axis, got {model}, a model of one vector"
        )

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        steps = time_steps(xs)
        t = jnp.arange(steps)
        valid = steps if length is None else check_length(length, steps)
        order = jnp.where(t < valid, valid - 1 - t, t)

        def turn(tree):
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[order], tree)

        # Where a sequence began at t, the one before it is now entered, at its step t - 1. What is
        # no array [T] is left to the model, which says what is wrong with it.
        if getattr(resets, "shape", None) == (steps,) and steps:
            resets = jnp.asarray(resets)
            resets = jnp.append(jnp.zeros_like(resets[:1]), resets[order[:-1]])
        state, ys = model.apply(
            params, turn(xs), state=state, length=length, resets=resets, key=key
        )
        if isinstance(model, Unaligned):
            return state, ys
        check_aligned(f"reverse({model})", model, xs, ys)
        return state, turn(ys)

    return model_of([model], model.init, apply, f"reverse({model})")


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
    """Two layers, one run from each end of the sequence (Schuster and Paliwal, 1997).

        y_t = merge(forward y_t, backward y_t)

    With a `length` the backward layer starts at the last valid step. The backward direction always
    sees a whole sequence: in the `state` that is handed in, `backward` starts it at its end.

    The last states of both ends, which saw everything, are
    `rx.bidirectional(rx.serial(a, rx.pool("last")), rx.serial(b, rx.pool("last")))`; in
    `rx.serial(rx.bidirectional(a, b), rx.pool("last"))` b has seen only the last step.

    Args:
      forward, backward: cells or sequence models.
      merge: "concat" on the last axis, "sum" or "mean".

    Raises:
      TypeError: an argument is neither a cell nor a sequence model; params or state are no pair.
      ValueError: unknown `merge`; "sum" or "mean" of outputs of unequal shapes, "concat" of numbers
        without an axis, or of outputs that differ in more than the last; a pair of which one is
        `Unaligned`, or that takes one vector.
    """
    if merge not in _MERGES:
        raise ValueError(f"bidirectional: merge must be one of {list(_MERGES)}, got {merge!r}")
    models = as_model(forward), reverse(backward)
    name = f"bidirectional({models[0]}, {as_model(backward)}, merge={merge!r})"
    if merge == "concat":
        name = f"bidirectional({models[0]}, {as_model(backward)})"
    unaligned = [isinstance(model, Unaligned) for model in models]
    if unaligned[0] != unaligned[1]:
        raise ValueError(f"{name}: both directions must keep the time axis, or neither")

    def init(key: jax.Array, xs: PyTree) -> Bidirectional:
        keys = split_key(name, key)
        return Bidirectional(*(m.init(k, xs) for m, k in zip(models, keys, strict=True)))

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        results = [
            model.apply(p, xs, state=s, length=length, resets=resets, key=k)
            for model, p, s, k in zip(
                models,
                entries_of(name, "params", params, 2),
                states_of(name, state, 2),
                keys_of(name, key, 2),
                strict=True,
            )
        ]
        (state_f, ys_f), (state_b, ys_b) = results
        concat = merge == "concat"
        sides = "the forward output", ys_f, "the backward output", ys_b
        check_same_shapes(name, *sides, but_for_last=concat)
        if concat and any(jnp.ndim(leaf) < 2 - unaligned[0] for leaf in jax.tree.leaves(ys_f)):
            raise ValueError(
                f"{name}: merge='concat' needs outputs with an axis of their own, got numbers"
            )
        return Bidirectional(state_f, state_b), jax.tree.map(_MERGES[merge], ys_f, ys_b)

    return model_of(models, init, apply, name)


def check_same_shapes(
    name: str, one: str, xs: PyTree, other: str, ys: PyTree, *, but_for_last: bool = False
) -> None:
    """Raises where two trees cannot be added leaf by leaf; broadcasting would do it in silence.

    Or, `but_for_last`, not be concatenated on their last axes.
    """

    def fixed(leaf: Any) -> tuple[int, ...]:
        shape = jnp.shape(leaf)
        return (*shape[:-1], len(shape)) if but_for_last else shape

    if jax.tree.map(fixed, xs) != jax.tree.map(fixed, ys):
        raise ValueError(
            f"{name}: {one} must have the shape of {other}"
            f"{' but for the last axis' if but_for_last else ''}, got "
            f"{jax.tree.map(jnp.shape, xs)} and {jax.tree.map(jnp.shape, ys)}"
        )
