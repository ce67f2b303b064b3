"""A handful of shapes for examples of many lengths: each is a program that XLA compiles.

An example has one length or several, such as a source's and a target's; it goes to the cheapest of
the shapes that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def choose_shapes(
    lengths: np.ndarray,
    count: int,
    limit: np.ndarray | Sequence[int] | None = None,
    costs: Sequence[float] | None = None,
) -> np.ndarray:
    """The `count` shapes that hold `lengths` at the least cost, by coordinate descent.

    Starts from quantiles, then moves one side of one shape at a time to where the sum over all rows
    of their cheapest shape's cost is least. The last shape is `limit` and stays, so that every row
    has one.

    Args:
      lengths: [N, sides].
      limit: the largest shape; the largest lengths unless given.
      costs: what a position of each side costs; 1 unless given.

    Returns:
      At most `count` rows in the order of their cost, [K, sides].
    """
    cells, rows = np.unique(lengths, axis=0, return_counts=True)
    prices = _prices(lengths.shape[1], costs)
    shapes = np.quantile(lengths, np.arange(1, count + 1) / count, axis=0, method="higher")
    shapes[-1] = lengths.max(0) if limit is None else limit

    def price(shape: np.ndarray) -> np.ndarray:  # of each cell, in this shape
        return np.where((cells <= shape).all(1), shape @ prices, np.inf)

    moved = True
    while moved:
        moved = False
        for k in range(count - 1):
            others = np.min([price(shape) for i, shape in enumerate(shapes) if i != k], axis=0)
            for side in range(lengths.shape[1]):
                candidates = np.repeat(shapes[k : k + 1], shapes[-1, side], axis=0)
                candidates[:, side] = np.arange(1, shapes[-1, side] + 1)
                totals = [np.minimum(price(shape), others) @ rows for shape in candidates]
                best = int(np.argmin(totals))
                if totals[best] < totals[int(shapes[k, side]) - 1]:
                    shapes[k], moved = candidates[best], True
    used = shapes[np.unique(cheapest(cells, shapes, costs))]
    shapes = np.unique(np.concatenate([used, shapes[-1:]]), axis=0)
    return shapes[np.argsort(shapes @ prices, kind="stable")]


def cheapest(
    lengths: np.ndarray, shapes: np.ndarray, costs: Sequence[float] | None = None
) -> np.ndarray:
    """[N] which of `shapes` is the cheapest that holds each row of `lengths`."""
    cost = shapes @ _prices(shapes.shape[1], costs)
    return np.where((lengths[:, None] <= shapes).all(-1), cost, np.inf).argmin(1)


def shuffled_epoch(
    lengths: np.ndarray,
    shapes: np.ndarray,
    batch_size: int,
    random: np.random.Generator,
    costs: Sequence[float] | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Every row once: the rows of each batch, [<= batch_size], and the batches' shapes.

    Rows of one shape side by side in random order, cut every `batch_size`, and the batches
    shuffled. The few batches that straddle two shapes take one that holds both, so that all batches
    but one are full.
    """
    shuffled = random.permutation(len(lengths))
    own = cheapest(lengths, shapes, costs)
    order = shuffled[np.argsort(own[shuffled], kind="stable")]
    rows = np.split(order, range(batch_size, len(order), batch_size))
    rows = [rows[i] for i in random.permutation(len(rows))]
    longest = np.stack([lengths[batch].max(0) for batch in rows])
    return rows, shapes[cheapest(longest, shapes, costs)]


def _prices(sides: int, costs: Sequence[float] | None) -> np.ndarray:
    return np.ones(sides) if costs is None else np.asarray(costs)
