"""One interface for every way to a gradient: back through all of time, a part of it, or forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import recurrax as rx
from experiments.long_memory.tasks import Target, Task

_ONLINE = {
    "eprop": rx.eprop,
    "uoro": rx.uoro,
    "snap": rx.snap,
    "rtrl": rx.rtrl,
}

Gradient = Callable[[Any, jax.Array, Target, jax.Array], tuple[jax.Array, Any]]
"""(params, xs [B, T, D], targets, key) -> the mean loss, and its gradient or an estimate of it."""


def make_gradient(
    method: str, cells: tuple[rx.Cell, rx.Cell], task: Task, look_back: int
) -> Gradient:
    """The gradient of the task's loss for a stack of cells, by a method of `options.METHODS`.

    "bptt" and "rtrl" are exact, "uoro" is so in the mean; "truncated" goes back `look_back` steps
    at most, in chunks of as many; "eprop" and "snap" leave paths out. All params are one tuple.

    Args:
      cells: a cell and the read-out on it.
    """
    if method in _ONLINE:
        each = rx.gradients.online_value_and_grad(
            _ONLINE[method](_open_stack(*cells)), lambda ys, target: task.loss(ys[0], target)
        )

        def online(params, xs, targets, key):
            keys = jax.random.split(key, len(xs))
            found = jax.vmap(lambda x, t, k: each(params, x, t, key=k))(xs, targets, keys)
            return jax.tree.map(lambda leaf: leaf.mean(0), found)

        return online

    model = rx.serial(*cells)

    def batched(params, xs, *, state=None):
        # A state is taken where one is given, for each example its own.
        axes = (0, None if state is None else 0)
        return jax.vmap(lambda x, s: model.apply(params, x, state=s), in_axes=axes)(xs, state)

    def loss(params, ys, targets):
        return jnp.sum(jax.vmap(jax.vmap(task.loss))(ys, targets)) / len(ys)

    if method == "bptt":

        def full(params, xs, targets, key):
            return jax.value_and_grad(lambda p: loss(p, batched(p, xs)[1], targets))(params)

        return full

    bptt = rx.truncated_bptt(batched, loss)

    def truncated(params, xs, targets, key):
        initial = rx.stack(*cells).initial_state(params)
        initial = jax.tree.map(lambda s: jnp.broadcast_to(s, (len(xs), *s.shape)), initial)
        carry = bptt.init(params, xs, state=initial)
        # A shorter chunk comes first: at the end it would shorten how far the last losses reach.
        first = xs.shape[1] % look_back
        found = None
        if first:
            head = jax.tree.map(lambda leaf: leaf[:, :first], (xs, targets))
            carry, found = bptt.step(params, carry, *head)
        chunks = jax.tree.map(lambda leaf: _chunks(leaf[:, first:], look_back), (xs, targets))
        _, rest = jax.lax.scan(lambda c, chunk: bptt.step(params, c, *chunk), carry, chunks)
        rest = jax.tree.map(lambda leaf: leaf.sum(0), rest)
        return rest if found is None else jax.tree.map(jnp.add, found, rest)

    return truncated


def _open_stack(cell: rx.Cell, readout: rx.Cell) -> rx.Cell:
    """`rx.stack` that also puts out what `cell` does, as `rx.eprop` goes by that."""
    stack = rx.stack(cell, readout)

    def step(params, state, x, key=None):
        below, h = cell.step(params[0], state[0], x, key)
        above, y = readout.step(params[1], state[1], h)
        return (below, above), (y, h)

    return rx.Cell(stack.init, stack.initial_state, step)


def _chunks(leaf: jax.Array, size: int) -> jax.Array:
    """[B, n size, ...] -> [n, B, size, ...]."""
    return jnp.moveaxis(leaf.reshape(len(leaf), -1, size, *leaf.shape[2:]), 1, 0)
