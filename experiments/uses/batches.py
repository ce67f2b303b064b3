"""Examples of many lengths as batches of few shapes, to train on and to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments.common.buckets import choose_shapes, shuffled_epoch
from experiments.common.devices import data_mesh, over_rows, replicate, shard
from experiments.uses.contract import Example, Examples


class Batches:
    """The batches of a training run: every example once an epoch, in an order of its own.

    Args:
      examples: what to train on.
      batch_size: B. The last batch of an epoch is filled up with examples that count nothing.
      shapes: how many shapes at the most.
      seed: decides the order.
    """

    def __init__(self, examples: Examples, *, batch_size: int, shapes: int, seed: int = 0):
        self.batch_size, self.seed = batch_size, seed
        self._examples, self._lengths = examples, lengths(examples)
        self.shapes = choose_shapes(self._lengths, shapes)
        self.per_epoch = -(-len(self._lengths) // batch_size)

    def since(self, step: int) -> Iterator[tuple[Example, np.ndarray]]:
        """The batches from step `step` on, without end, each with the [B] weights of its rows."""
        while True:
            epoch, first = divmod(step, self.per_epoch)
            random = np.random.default_rng([self.seed, epoch])
            plan = shuffled_epoch(self._lengths, self.shapes, self.batch_size, random)
            for rows, shape in list(zip(*plan, strict=True))[first:]:
                yield (
                    padded(self._examples, rows, self.batch_size, shape),
                    weights(len(rows), self.batch_size),
                )
                step += 1


class Predictor:
    """A function of one example, `(params, example, *shared) -> pytree`, over many.

    Compiled once for each shape; rows are split over the devices.
    """

    def __init__(self, function: Callable[..., Any], *, batch_size: int = 64, shapes: int = 4):
        self._batch_size, self._shapes = batch_size, shapes
        self._mesh = data_mesh(batch_size)
        self._function = over_rows(
            lambda params, shared, example: function(params, example, *shared),
            self._mesh,
            shared=2,
        )

    def __call__(self, params: Any, examples: Examples, *shared: Any) -> list[Any]:
        """The results in the order of `examples`, as NumPy arrays; padding is still there."""
        params, shared = replicate((params, shared), self._mesh)
        sizes = lengths(examples)
        shapes = choose_shapes(sizes, self._shapes)
        # In an order that has equal shapes side by side; any will do.
        plan = shuffled_epoch(sizes, shapes, self._batch_size, np.random.default_rng(0))
        found: list[Any] = [None] * len(sizes)
        for rows, shape in zip(*plan, strict=True):
            batch = padded(examples, rows, self._batch_size, shape)
            results = jax.device_get(self._function(params, shared, shard(batch, self._mesh)))
            for place, row in enumerate(rows):
                found[row] = jax.tree.map(lambda leaf, place=place: leaf[place], results)
        return found


def lengths(examples: Examples) -> np.ndarray:
    """[N, 2] of x and of y; a scalar's is 1."""
    return np.array([[_length(x), _length(y)] for x, y in zip(*examples, strict=True)])


def padded(
    examples: Examples, rows: Sequence[int] | np.ndarray, count: int, shape: Sequence[int]
) -> Example:
    """These examples, and the first of them again until there are `count`, padded to `shape`."""
    rows = [*rows, *[rows[0]] * (count - len(rows))]
    fields = []
    for side, width in zip(examples, shape, strict=True):
        arrays = [np.asarray(side[row]) for row in rows]
        if arrays[0].ndim:
            tail = arrays[0].shape[1:]
            whole = np.zeros((count, int(width), *tail), arrays[0].dtype)
            for place, array in enumerate(arrays):
                whole[place, : len(array)] = array
        else:
            whole = np.stack(arrays)
        fields += [whole, np.array([_length(array) for array in arrays], np.int32)]
    return Example(*fields)


def weights(rows: int, count: int) -> np.ndarray:
    """[count]: 1 for each of the first `rows`, 0 for what fills up."""
    return (np.arange(count) < rows).astype(np.float32)


def _length(array: np.ndarray) -> int:
    return np.shape(array)[0] if np.ndim(array) else 1
