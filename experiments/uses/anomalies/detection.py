"""From forecasts to alarms: how surprising each row is, the threshold, and how good alarms are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.uses.contract import Examples

AHEAD = 8
"""L."""
FALSE_ALARMS = 0.005
"""Of the rows that validate."""
EVENT = 25
"""Alarms with fewer rows between them are one."""
TRAIN, VALIDATION, TEST = range(3)
"""Where a row belongs: y[:, 0]; y[:, 1] is 1 where something is wrong. x[:, 0] is the value."""


class Detection(NamedTuple):
    """Of one series of N rows."""

    scores: np.ndarray
    """[N] nats; those of the first L rows are the lowest there is."""
    threshold: float

    @property
    def alarms(self) -> np.ndarray:
        """[N] booleans."""
        return self.scores > self.threshold


def surprise(z: np.ndarray, forecasts: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """[N] nats of the errors at each row, by a Gaussian of those at the rows `fitted`.

    Args:
      z: [N].
      forecasts: [N, L], from each row 1 .. L steps ahead.
      fitted: [N] booleans.

    Returns:
      -log N(e_t), e_t[j] = z_t - forecasts[t - j, j]; the first L rows, which lack some, get the
      least of all the others.
    """
    count, ahead = forecasts.shape
    rows = np.arange(ahead, count)
    steps = np.arange(1, ahead + 1)
    errors = z[rows, None].astype(float) - forecasts[rows[:, None] - steps, steps - 1]
    sample = errors[fitted[rows]]
    mean, covariance = sample.mean(0), np.cov(sample.T, bias=True).reshape(ahead, ahead)
    # A little more of every direction, for one in which the sample happens to be flat.
    covariance += (1e-3 * np.trace(covariance) / ahead + 1e-9) * np.eye(ahead)
    _, volume = np.linalg.slogdet(2 * np.pi * covariance)
    away = errors - mean
    distances = np.einsum("nl,nl->n", away, np.linalg.solve(covariance, away.T).T)
    scores = 0.5 * (volume + distances)
    return np.concatenate([np.full(ahead, scores.min()), scores])


def detect(forecasts: Sequence[np.ndarray], examples: Examples) -> list[Detection]:
    """The scores of each series, and the threshold from the part that validates."""
    found = []
    for x, y, forecast in zip(*examples, forecasts, strict=True):
        scores = surprise(x[:, 0], forecast[: len(x)], y[:, 0] == TRAIN)
        limit = np.quantile(scores[y[:, 0] == VALIDATION], 1 - FALSE_ALARMS)
        found.append(Detection(scores, float(limit)))
    return found


def measures(forecasts: Sequence[np.ndarray], examples: Examples) -> dict[str, float]:
    """How good forecasts are where nothing is wrong, and what is found where something is.

    rmse            of z, all L steps; of the last part that the examples have
    windows found   the share with an alarm in them
    false alarms    rows by 1,000 that are in no window
    auc             area under the ROC curve of the rows, the mean over the series
    f1              of windows: the precision is the share of alarms that touch one, where
                    those with fewer than EVENT rows between them are one
    """
    last = max(int(y[-1, 0]) for y in examples.ys)
    squares = []
    for x, y, forecast in zip(*examples, forecasts, strict=True):
        for step in range(1, AHEAD + 1):
            errors = x[step:, 0] - forecast[: len(x) - step, step - 1]
            squares.append(np.square(errors[(y[step:, 0] == last) & (y[step:, 1] == 0)]))
    found = {"rmse": float(np.sqrt(np.concatenate(squares).mean()))}
    if last != TEST:
        return found
    hits, events, true_events, false, areas = [], 0, 0, [], []
    for y, detection in zip(examples.ys, detect(forecasts, examples), strict=True):
        tested = y[:, 0] == TEST
        wrong, alarms = y[tested, 1] == 1, detection.alarms[tested]
        false.append(alarms[~wrong])
        hits += [bool(alarms[begin:end].any()) for begin, end in runs(wrong)]
        # Alarms, with what is between them where that is short.
        at = runs(alarms, EVENT)
        events += len(at)
        true_events += sum(bool((wrong & alarms)[begin:end].any()) for begin, end in at)
        if wrong.any() and not wrong.all():
            areas.append(roc_auc_score(wrong, detection.scores[tested]))
    recall, precision = np.mean(hits), true_events / max(1, events)
    return found | {
        "windows found": float(recall),
        "false alarms a 1,000": 1000 * float(np.concatenate(false).mean()),
        "auc": float(np.mean(areas)),
        "f1": float(2 * recall * precision / max(recall + precision, 1e-9)),
    }


def runs(where: np.ndarray, apart: int = 1) -> list[tuple[int, int]]:
    """First row and the one after the last of each run of True; fewer than `apart` False join."""
    rows = np.flatnonzero(where)
    if not len(rows):
        return []
    pieces = np.split(rows, np.flatnonzero(np.diff(rows) > apart) + 1)
    return [(int(piece[0]), int(piece[-1]) + 1) for piece in pieces]


def last_value(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, L]: all will be as it is."""
    return np.repeat(x[:, :1], AHEAD, 1)


def moving_average(x: np.ndarray, y: np.ndarray, rows: int = 10) -> np.ndarray:
    """[N, L]: all will be as the last ten were on average."""
    sums = np.cumsum(np.concatenate([np.repeat(x[:1, 0], rows), x[:, 0]]), dtype=float)
    return np.repeat(((sums[rows:] - sums[:-rows]) / rows)[:, None], AHEAD, 1)


def period_before(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, L]: all will be as it was one period before.

    The period is the shortest lag that fits the training rows nearly as well as the best does.
    """
    z, known = x[:, 0], x[y[:, 0] == TRAIN, 0]
    lags = np.arange(AHEAD + 1, max(AHEAD + 2, len(known) // 2))
    errors = [np.mean(np.square(known[lag:] - known[:-lag])) for lag in lags]
    lag = lags[np.flatnonzero(errors <= 1.5 * np.min(errors))[0]]
    back = np.arange(len(z))[:, None] + np.arange(1, AHEAD + 1) - lag
    return np.where(back >= 0, z[np.maximum(back, 0)], x[:, :1])
