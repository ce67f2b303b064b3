"""Buckets: they hold every row, and no small change makes them cheaper."""

import numpy as np

from experiments.common.buckets import choose_shapes


def test_shapes_hold_all_and_are_hard_to_better():
    draw = np.random.default_rng(0)
    target = draw.integers(1, 25, 400)
    lengths = np.stack([np.maximum(1, target + draw.integers(-3, 4, 400)), target], axis=1)

    def cost(shapes):
        fits = (lengths[:, None] <= shapes).all(-1)
        return np.where(fits, shapes @ [1, 4], np.inf).min(1).sum()

    best = np.inf
    for count in range(1, 7):
        shapes = choose_shapes(lengths, count, costs=[1, 4])
        assert len(shapes) <= count
        assert cost(shapes) <= best
        best = cost(shapes)
        for _ in range(300):  # no small change of a shape is a better one
            other = shapes.copy()
            other[draw.integers(len(other)), draw.integers(2)] += draw.choice([-1, 1])
            assert cost(other) >= best
    assert choose_shapes(np.array([[3, 4]]), 8).tolist() == [[3, 4]]
