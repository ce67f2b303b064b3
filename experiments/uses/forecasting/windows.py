"""Windows of a table of series: from what to forecast and what, and how far forecasts are off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.uses.contract import Examples
from experiments.uses.forecasting.data import Table

HORIZONS = (3, 6, 12, 24)
"""Those of Lai et al. (2018)."""
VALUE, BEFORE, SERIES, ROW, BEST = range(5)
"""The columns of x [T, 4] and y [H, 4 or 5]: z, the last z known that is whole seasons before,
which series, which row of the table, and where it is known the best forecast that there is."""
Naive = Callable[[np.ndarray, np.ndarray], np.ndarray]


class About(NamedTuple):
    """C series. z = (value - offset) / scale; both are of the training part alone."""

    names: tuple[str, ...]
    seasons: np.ndarray
    """[C]; 1 where there is none: then the value "one season before" is the last one known."""
    offsets: np.ndarray
    """[C] means."""
    scales: np.ndarray
    """[C] mean absolute changes from one row to the next, so that the MAE of z is the MASE."""


def last_value(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[H]: all will be as it is."""
    return np.full(len(y), x[-1, VALUE])


def season_before(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[H]: all will be as it was at this point of the last season that is known."""
    return y[:, BEFORE]


def value_before(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[H]: the value before each, which is known only one step ahead."""
    return np.concatenate([x[-1:, VALUE], y[:-1, VALUE]])


def measures(forecasts: Any, examples: Examples, about: About) -> dict[str, float]:
    """How far [N, H] forecasts (of z) are from the truth.

    mae, rmse: of the values as they stand in the table, all series together. mase: the MAE by that
    of "as the row before" in the training part, series by series (Hyndman and Koehler, 2006).
    """
    errors = np.stack(forecasts) - _truth(examples)
    scaled = about.scales[series_of(examples), None] * errors
    return {
        "mae": float(np.abs(scaled).mean()),
        "rmse": float(np.sqrt(np.square(scaled).mean())),
        "mase": float(np.abs(errors).mean()),
    }


def by_step(forecasts: Any, examples: Examples, about: About) -> dict[str, np.ndarray]:
    """[H] each, at 1 .. H steps ahead.

    MASE    as above
    RSE     the root of the squared error by the squared distance of the values from their
            mean, all series together, as they stand in the table (Lai et al., 2018)
    CORR    the correlation of forecast and truth: the mean over the series that change
    """
    z, truth, which = np.stack(forecasts).astype(float), _truth(examples), series_of(examples)
    errors = about.scales[which, None] * (z - truth)
    values = about.offsets[which, None] + about.scales[which, None] * truth
    squares = np.square(values - values.mean(0)).sum(0)
    correlations = []
    for series in set(which):
        pair = np.stack([z[which == series], truth[which == series]])
        away = pair - pair.mean(1, keepdims=True)
        size = np.sqrt(np.square(away).sum(1).prod(0))
        with np.errstate(invalid="ignore"):
            correlations.append(np.where(size > 0, away.prod(0).sum(0) / size, np.nan))
    return {
        "MASE": np.abs(z - truth).mean(0),
        "RSE": np.sqrt(np.square(errors).sum(0) / np.maximum(squares, 1e-30)),
        "CORR": np.nanmean(correlations, axis=0),
    }


def _truth(examples: Examples) -> np.ndarray:
    """[N, H] in z."""
    return np.stack([y[:, VALUE] for y in examples.ys]).astype(float)


def windows(made: Table, about: About, horizon: int, starts: range, most: int) -> Examples:
    """Of each series the windows whose first row to forecast is in `starts`, at even distances."""
    z = (made.values - about.offsets) / about.scales
    stride = -(-len(starts) * len(about.names) // most)
    steps = np.arange(horizon)
    xs, ys = [], []
    for column, season in enumerate(about.seasons):
        back = season * (1 + steps // season)
        for start in starts[::stride]:
            past, future = start - 2 * horizon + np.arange(2 * horizon), start + steps
            sides = []
            for rows, before in ((past, past - season), (future, future - back)):
                fields = [z[rows, column], z[before, column], np.full(len(rows), column), rows]
                sides.append(np.stack(fields, 1))
            if made.expected is not None:
                best = made.expected[start - 1, :horizon, column]
                best = (best - about.offsets[column]) / about.scales[column]
                sides[1] = np.column_stack([sides[1], best])
            xs.append(sides[0].astype(np.float32))
            ys.append(sides[1].astype(np.float32))
    return Examples(xs, ys)


def series_of(examples: Examples) -> np.ndarray:
    """[N] the series of each window."""
    return np.array([int(x[0, SERIES]) for x in examples.xs])


def naive_nats(ahead: Naive, train: Examples, test: Examples) -> float:
    """Of Gaussians around a forecast one step ahead, whose variances are those of training."""

    def squares(examples: Examples) -> np.ndarray:
        pairs = zip(*examples, strict=True)
        return np.square([y[:, VALUE] - ahead(x, y) for x, y in pairs])

    of_train, which = squares(train), series_of(train)
    variances = {column: of_train[which == column].mean() + 1e-6 for column in set(which)}
    variance = np.array([variances[column] for column in series_of(test)])[:, None]
    return float(np.mean(0.5 * (np.log(2 * np.pi * variance) + squares(test) / variance)))
