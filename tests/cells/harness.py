"""What the contract suite computes once for each cell: inputs, compiled functions, slow truth."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from recurrax.core import as_cell
from tests.cells.registry import Entry
from tests.support import x64

T = 6
LENGTHS = np.arange(T + 1, dtype=np.int32)  # the same integers with and without x64
"""One example of each length, 0 to T: every batch below holds all of them."""
B = len(LENGTHS)


def random_like(rng: np.random.Generator, tree: Any, scale: float = 0.5) -> Any:
    return jax.tree.map(lambda leaf: scale * rng.normal(size=np.shape(leaf)), tree)


def assert_close(got: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Per leaf, with the same structure up to the names of tuples."""
    got_leaves, expected_leaves = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(got_leaves) == len(expected_leaves)
    for a, b in zip(got_leaves, expected_leaves, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
        )


def assert_same_bits(got: Any, expected: Any) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


class Harness:
    """One entry of the registry: its cell, random arguments in float64, and compiled functions."""

    def __init__(self, entry: Entry):
        self.entry = entry
        self.rng = rng = np.random.default_rng(0)
        cell = as_cell(entry.make())
        self.steps_traced = 0

        def counting_step(params, state, x, key=None):
            self.steps_traced += 1
            return cell.step(params, state, x, key)

        self.cell = dataclasses.replace(cell, step=counting_step)
        with x64():
            params = cell.init(jax.random.key(0), jnp.zeros(entry.width))
            self.initial = to_numpy(cell.initial_state(params))
        # Noise on every leaf: zeros, such as fresh biases, would hide a mistake.
        noise = random_like(rng, params, 0.2)
        self.params = jax.tree.map(lambda leaf, n: np.asarray(leaf) + n, params, noise)
        with x64():
            # Learned initial states follow the params.
            self.initial = to_numpy(cell.initial_state(self.params))
        self.xs = rng.normal(size=(B, T, entry.width))
        self.state = jax.tree.map(lambda leaf: rng.normal(size=(B, *leaf.shape)) / 2, self.initial)
        self.resets = rng.random((B, T)) < 0.4
        self.weights = rng.normal(size=(B, T, *self._output_shape()))

    def _output_shape(self):
        return self.entry.reference(self.params, self.initial, self.xs[0, 0])[1].shape

    @property
    def arguments(self):
        return self.params, self.xs, self.state, LENGTHS, self.resets

    def _unroll(self, reverse, params, xs, state, length, resets):
        return rx.unroll(
            self.cell, params, xs, state=state, length=length, resets=resets, reverse=reverse
        )

    @functools.cache  # noqa: B019  (one harness a module, freed with it)
    def run(self, reverse: bool):
        """`(params, xs, state, lengths, resets) -> (state, ys)`, a batch, compiled once."""
        one = functools.partial(self._unroll, reverse)
        return self._in_x64(jax.jit(jax.vmap(one, (None, 0, 0, 0, 0))))

    @functools.cache  # noqa: B019
    def value_and_grad(self, reverse: bool):
        """Of one number out of all outputs and states, for params, xs and state."""
        one = functools.partial(self._unroll, reverse)

        def loss(params, xs, state, lengths, resets):
            state, ys = jax.vmap(one, (None, 0, 0, 0, 0))(params, xs, state, lengths, resets)
            return self.number(state, ys)

        return self._in_x64(jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))))

    def number(self, state, ys):
        return (self.weights * ys).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    @functools.cached_property
    def step(self):
        """The cell's step, compiled."""
        return self._in_x64(jax.jit(self.cell.step))

    def _in_x64(self, function):
        def call(*arguments):
            with x64():
                return jax.tree.map(np.asarray, function(*arguments))

        call.jitted = function
        return call

    def steps(self, state, xs):
        """A sequence run step by step: no scan, no lengths, no resets. `xs` may be empty."""
        ys = []
        for x in xs:
            state, y = self.step(self.params, state, x)
            ys.append(y)
        return state, ys

    def truth(self, b: int, reverse: bool = False):
        """Example `b` by a NumPy loop over the reference step: lengths, resets, direction."""
        state, length = row(self.state, b), LENGTHS[b]
        ys = np.zeros((T, *self._output_shape()))
        for t in range(length)[::-1] if reverse else range(length):
            begins = self.resets[b, t]
            if reverse:
                begins = t + 1 < length and self.resets[b, t + 1]
            if begins:
                state = self.initial
            state, ys[t] = self.entry.reference(self.params, state, self.xs[b, t])
        return state, ys


def to_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def row(tree: Any, b: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[b], tree)
