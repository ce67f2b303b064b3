"""Truncated backpropagation through time, as a pure function from chunk to chunk.

A long sequence comes in chunks. The state after one starts the next, as a number: its gradient is
cut off. How far a gradient looks back before it is cut, and how often the parameters move, are two
choices (k2 and k1 in the texts); here the second is the length of a chunk, and the first a number
of chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count
from recurrax.compose.layers import as_model, is_model
from recurrax.core import PyTree, check_function


class TruncatedState(NamedTuple):
    """What one chunk leaves for the next.

    `state` after the newest chunk. `start`, `chunks` and `seen` are there where the window is
    longer than a chunk, None otherwise: the state before the oldest chunk that is kept, the
    window - 1 newest chunks with a leading axis, oldest first, and how many of them are real.
    """

    state: PyTree
    start: PyTree = None
    chunks: PyTree = None
    seen: jax.Array | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class TruncatedBPTT:
    """Two pure functions, made by `truncated_bptt`.

    `init(params, xs, *, state=None, **options) -> carry` (a `TruncatedState`): before the first
    chunk. `xs` and options are a chunk's, of which only the shapes matter.

    `step(params, carry, xs, targets=None, **options) -> (carry, (value, gradients))`: one chunk.
    """

    init: Callable[..., TruncatedState]
    step: Callable[..., tuple[TruncatedState, tuple[jax.Array, PyTree]]]
    name: str = "truncated_bptt"

    def __repr__(self) -> str:
        return self.name


def truncated_bptt(
    model: Any, loss: Callable[[Any, Any, Any], jax.Array], *, window: int = 1
) -> TruncatedBPTT:
    """Truncated backpropagation through time (Williams and Peng, 1990), a chunk at a time.

    With chunks of k1 time steps and k2 = window * k1,

        value = loss(params, y_{t-k1+1..t}, targets)
        gradients = dvalue/dparams with s_{t-k2} held constant

    Every loss counts once, and its gradient looks back k2 - k1 + 1 to k2 steps. With `window=1`
    this is the usual form, k1 = k2: 25 to 100 steps. At fixed params the sum of the gradients is
    that of full backpropagation once the window covers the sequence. The chunks of a longer window
    are kept in the carry and run again from s_{t-k2} with the params of now, which costs `window`
    forward and backward passes a chunk; the memory of the backward pass is that of k2 steps.

    `gradients` are what `jax.grad` gives, for any optax chain. `step` is a body for `jax.lax.scan`
    over chunks [T / k1, k1, ...]. For a batch, make `model` one of batches, so that gradients are
    summed as they are computed:

        def model(params, xs, *, state):  # xs [B, k1, D]
            run = functools.partial(rx.unroll, cell)
            return jax.vmap(lambda xs, s: run(params["cell"], xs, state=s))(xs, state)

    An initial state that is learned is a constant like any other where it starts a stream; it has
    its gradient where `resets` say that a sequence begins.

    Args:
      model: a cell, a sequence model that does not look at the future, or a function
        `(params, xs, *, state, ...) -> (state, ys)`, such as one that takes its part of the params.
      loss: `(params, ys, targets) -> number`, of one chunk; `targets` any pytree.
      window: how many chunks a gradient reaches back, the newest counted.

    Options are handed to the model as they come: `length`, `resets`, `key` of each chunk, in its
    own time. With `window > 1` they are kept with the chunk, so that noise is the same again, and
    `init` needs the same ones.

    Raises:
      TypeError: `model` is none of these, `loss` no function, `window` no int; in use, no `state`
        for a function, a carry that is no `TruncatedState`, options of another structure than those
        that `init` was given.
      ValueError: `window` is below 1.

    Source: Williams and Peng, 1990, "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories", whose BPTT(h; h') has h = k2 and h' = k1.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell, stream = rx.gru(4), jnp.ones((100, 3))
    >>> params = cell.init(jax.random.key(0), stream[0])
    >>> bptt = rx.truncated_bptt(cell, lambda params, ys, targets: jnp.sum((ys - targets) ** 2))
    >>> chunks = stream.reshape(4, 25, 3)
    >>> carry = bptt.init(params, chunks[0])
    >>> carry, (value, gradients) = bptt.step(params, carry, chunks[0], jnp.zeros((25, 4)))
    >>> carry.state.shape, gradients.w_x.shape
    ((4,), (3, 12))
    """
    check_function("truncated_bptt", "loss", loss)
    check_count("truncated_bptt", "window", window)
    is_function = not hasattr(model, "init") and callable(model)
    apply: Callable[..., Any] = model if is_function else as_model(model).apply
    name = f"truncated_bptt({getattr(model, '__name__', model)}, window={window})"

    def init(params: PyTree, xs: PyTree, *, state: PyTree = None, **options: Any) -> TruncatedState:
        if state is None:
            state = initial(params, xs)
        state = jax.tree.map(jnp.asarray, state)
        if window == 1:
            return TruncatedState(state)
        kept = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (window - 1, *leaf.shape)), _arrays((xs, options))
        )
        return TruncatedState(state, state, kept, jnp.zeros((), jnp.int32))

    def initial(params: PyTree, xs: PyTree) -> PyTree:
        if is_function:
            raise TypeError(
                f"{name}.init: state must be given where the model is a function, got None"
            )
        if is_model(model):
            return apply(params, xs, length=0)[0]
        return model.initial_state(params)

    def step(
        params: PyTree, carry: TruncatedState, xs: PyTree, targets: PyTree = None, **options: Any
    ) -> tuple[TruncatedState, tuple[jax.Array, PyTree]]:
        if not isinstance(carry, TruncatedState):
            raise TypeError(
                f"{name}.step: carry must be the TruncatedState that init or the last step made, "
                f"got {type(carry).__name__}"
            )
        chunk = _arrays((xs, options))
        if window > 1:
            _check_chunk(name, carry.chunks, chunk)

        def value_of(params: PyTree) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
            state, states = carry.state, None
            if carry.seen is not None:
                state, states = jax.lax.scan(
                    lambda state, past: again(params, state, past),
                    carry.start,
                    (carry.chunks, jnp.arange(window - 1) >= window - 1 - carry.seen),
                )
            state, ys = apply(params, xs, state=state, **options)
            return loss(params, ys, targets), (state, states)

        def again(params: PyTree, state: PyTree, past: tuple[PyTree, jax.Array]):
            (xs, options), is_real = past
            # What is not there yet is run on what is, and forgotten: 0 * NaN would not be.
            xs, options = _select(is_real, (xs, options), chunk)
            after, _ = apply(params, xs, state=state, **options)
            after = _select(is_real, after, state)
            return after, after

        (value, (state, states)), gradients = jax.value_and_grad(value_of, has_aux=True)(params)
        if carry.seen is None:
            return TruncatedState(state), (value, gradients)
        return (
            TruncatedState(
                state,
                jax.tree.map(lambda leaf: leaf[0], states),
                jax.tree.map(
                    lambda old, new: jnp.concatenate([old[1:], new[None]]), carry.chunks, chunk
                ),
                jnp.minimum(carry.seen + 1, window - 1),
            ),
            (value, gradients),
        )

    return TruncatedBPTT(init, step, name)


def _select(predicate: jax.Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), on_true, on_false)


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), tree
    )


def _check_chunk(name: str, kept: PyTree, chunk: PyTree) -> None:
    """Raises where a chunk has not the structure and shapes of those that are kept."""
    if jax.tree.structure(kept) != jax.tree.structure(chunk):
        raise TypeError(
            f"{name}: xs and options must have the structure that init was given, "
            f"{jax.tree.structure(kept)}, got {jax.tree.structure(chunk)}"
        )
    for old, new in zip(jax.tree.leaves(kept), jax.tree.leaves(chunk), strict=True):
        if old.shape[1:] != new.shape or old.dtype != new.dtype:
            raise ValueError(
                f"{name}: chunks must be alike, as those that are kept have {old.dtype} of shape "
                f"{old.shape[1:]}, got {new.dtype} of shape {new.shape}"
            )
