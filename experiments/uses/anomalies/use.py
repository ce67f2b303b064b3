"""Many to many: where does a series stop being itself? A network is surprised there.

LSTM-AD (Malhotra et al., 2015): a network learns to foretell the next L values of what counts as
normal, by squared error. Later each value has been foretold L times, from 1 to L steps ahead; a
Gaussian of its L errors e_t is fitted where the network was trained, and

    score_t = -log N(e_t; mean, covariance)    in nats

is high where no forecast was as wrong as these. The alarm is at the score which the part that
validates exceeds at FALSE_ALARMS of its rows. No label is used before the report. Each series has
its own scale, Gaussian and threshold; the network is one for all, and knows which it reads. Where
the time is known it also sees the hour and the day of the week.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from experiments.common.plots import COLOURS, save
from experiments.common.tables import table
from experiments.uses.anomalies import data as source
from experiments.uses.anomalies.detection import (
    AHEAD,
    TEST,
    TRAIN,
    VALIDATION,
    Detection,
    detect,
    last_value,
    measures,
    moving_average,
    period_before,
)
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings

CHUNK = 128
"""Rows of a training example; each begins in the middle of the one before."""


class Anomalies:
    """Anomalies of series; `data` is NAB's group realKnownCause (Lavin and Ahmad, 2015)."""

    title = "anomalies"
    defaults = Settings(epochs=30, features=48, dropout=0.0, batch_size=16, learning_rate=5e-3)
    metric, higher_is_better = "rmse", False

    def __init__(self, settings: Settings, about: list[source.Series]):
        self.settings, self.series = settings, about
        self.network = rx.serial(
            rx.densely_connected(*(settings.make_cell() for _ in range(settings.layers))),
            rx.dropout(settings.dropout),
            rx.dense(AHEAD),
        )
        # A series is long, and each row of a batch has a core to itself.
        self._predict = Predictor(self._forecasts, batch_size=2, shapes=1)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        """Of what counts as normal the first two thirds train; the last third validates.

        x [N, 6]: z, sine and cosine of the hour and of the weekday, the series; y [N, 2]: which
        part, and whether something is wrong. What trains comes in chunks; what validates and what
        tests comes with all before it, which gives the Gaussian and the threshold.
        """
        series = source.generate(seed) if path is None else source.read(path)
        chunks, normal, whole = [], [], []
        for number, one in enumerate(series):
            x, y = _arrays(one, number)
            trained = int(np.sum(y[:, 0] == TRAIN))
            for begin in range(0, max(1, trained - CHUNK // 2), CHUNK // 2):
                rows = slice(begin, min(begin + CHUNK, trained))
                chunks.append((x[rows], y[rows]))
            normal.append((x[: one.normal], y[: one.normal]))
            whole.append((x, y))
        return Data(
            *(Examples(*zip(*part, strict=True)) for part in (chunks, normal, whole)),
            about=series,
        )

    def init(self, key: jax.Array) -> Any:
        return self.network.init(key, jnp.zeros((1, 6 + len(self.series))))

    def loss(
        self, params: Any, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """The squared error of all forecasts whose value is known."""
        forecasts = self._forecasts(params, example, key)
        place = jnp.arange(len(example.x))[:, None] + jnp.arange(1, AHEAD + 1)
        valid = place < example.x_length
        truth = jnp.where(valid, example.x[jnp.minimum(place, example.x_length - 1), 0], 0.0)
        squares = jnp.where(valid, jnp.square(forecasts - truth), 0.0)
        return jnp.sum(squares), jnp.sum(valid)

    def score(self, params: Any, examples: Examples) -> dict[str, float]:
        return measures(self._predict(params, examples), examples)

    def baseline(self, data: Data) -> dict[str, float]:
        """The same with a forecast that needs no network: the better one where it is validated."""
        naive = _naive(data.val)
        return measures([naive(*one) for one in zip(*data.test, strict=True)], data.test)

    def show(self, params: Any, data: Data, folder: Path) -> list[str]:
        """What was found, by series or by what went wrong, and a picture of some series."""
        test, naive = data.test, _naive(data.val)
        detected = {
            "network": detect(self._predict(params, test), test),
            naive.__name__.replace("_", " "): detect(
                [naive(*one) for one in zip(*test, strict=True)], test
            ),
        }
        by_kind = any(kind for one in self.series for kind in one.kinds)
        rows: dict[str, dict[str, list[bool]]] = {}
        for number, one in enumerate(self.series):
            for (begin, end), kind in zip(one.windows, one.kinds, strict=True):
                row = rows.setdefault(
                    kind if by_kind else one.name, {name: [] for name in detected}
                )
                for name, found in detected.items():
                    row[name].append(bool(found[number].alarms[begin:end].any()))
        lines = [
            [name, *(f"{sum(hits)} of {len(hits)}" for hits in row.values())]
            for name, row in sorted(rows.items())
        ]
        picture = folder / "anomalies.png"
        self._draw(test, detected["network"], picture)
        return [
            table(["windows found", *detected], lines),
            f"{picture} has series, scores, thresholds and windows.",
        ]

    def _forecasts(self, params: Any, example: Example, key: jax.Array | None = None) -> jax.Array:
        """[N, L]: z at 1 .. L steps after each row."""
        valid = jnp.arange(len(example.x)) < example.x_length
        x = jnp.where(valid[:, None], example.x, 0.0)
        z = x[:, :1]
        changes = jnp.diff(z, axis=0, prepend=z[:1])
        series = jax.nn.one_hot(x[:, -1].astype(jnp.int32), len(self.series))
        inputs = jnp.concatenate([z, changes, x[:, 1:-1], series], 1)
        _, forecasts = self.network.apply(params, inputs, length=example.x_length, key=key)
        return z + forecasts

    def _draw(self, test: Examples, detected: list[Detection], path: Path) -> None:
        from matplotlib.figure import Figure  # here: it is slow to import

        count = min(4, len(detected))
        figure = Figure(figsize=(12, 2.6 * count), layout="constrained")
        pairs = figure.subplots(2 * count, 1, height_ratios=[2, 1] * count).reshape(-1, 2)
        for (upper, lower), number in zip(pairs, range(count), strict=True):
            one, found = self.series[number], detected[number]
            rows = np.arange(one.normal, len(one.values))
            upper.plot(rows, one.values[rows], color="#444444", linewidth=0.6)
            lower.plot(rows, found.scores[rows], color=COLOURS[0], linewidth=0.6)
            lower.axhline(found.threshold, color=COLOURS[1], linewidth=0.8)
            lower.set_yscale("symlog", linthresh=10)
            alarms = rows[found.alarms[rows]]
            upper.plot(alarms, one.values[alarms], ".", color=COLOURS[1], markersize=3)
            for ax in (upper, lower):
                for begin, end in one.windows:
                    ax.axvspan(begin, end, color=COLOURS[4], alpha=0.2, linewidth=0)
                ax.spines[["top", "right"]].set_visible(False)
                ax.set_xlim(rows[0], rows[-1])
            upper.set_xticklabels([])
            upper.set_title(one.name, fontsize=9, parse_math=False)
            lower.set_ylabel("nats", fontsize=8)
        save(figure, path)


def _naive(val: Examples) -> Any:
    return min(
        (last_value, moving_average, period_before),
        key=lambda naive: measures([naive(*one) for one in zip(*val, strict=True)], val)["rmse"],
    )


def _arrays(one: source.Series, number: int) -> tuple[np.ndarray, np.ndarray]:
    """x [N, 6] and y [N, 2] of a whole series; the scale is of the rows that train."""
    count, trained = len(one.values), round(one.normal * 2 / 3)
    known = one.values[:trained]
    z = (one.values - known.mean()) / max(known.std(), 1e-6)
    clock = np.zeros((count, 4))
    if len(one.clock):
        for column, length in ((0, 24 * 3600), (2, 7 * 24 * 3600)):
            turn = 2 * np.pi * one.clock / length
            clock[:, column], clock[:, column + 1] = np.sin(turn), np.cos(turn)
    x = np.column_stack([z, clock, np.full(count, number)]).astype(np.float32)
    y = np.zeros((count, 2), np.int32)
    y[trained:, 0], y[one.normal :, 0] = VALIDATION, TEST
    for begin, end in one.windows:
        y[begin:end, 1] = 1
    return x, y
