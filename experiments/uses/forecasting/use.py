"""Many to many: the next H values of a series, with an interval, from the last T.

An encoder reads the T values, and the same network, from the state it came to, writes the H ones,
each from the one before: at every step it gives the mean and the deviation of a Gaussian (DeepAR:
Salinas et al., 2020). One network serves all series of a table; which one it is goes in beside.

    mu_t = z_{t-1} + s m_t,    sigma_t = s (softplus(r_t) + 0.01),    (m_t, r_t) = net(inputs_t)
    loss = sum_t 1/2 log(2 pi) + log sigma_t + (z_t - mu_t)^2 / (2 sigma_t^2)

in nats, with the true z_{t-1} while training (teacher forcing). s is 0.1 and the mean absolute
change within the window. The inputs at t are z_{t-1} - z_T, the value one season before t less
z_{t-1} (both by s), and log s; they also pass by the cells to the last layer, so that the
straight-line part need not be learnt by gates. A forecast is sampled: 100 paths, each fed its own
values, in pairs of opposite noise; their mean is the forecast and their middle 90 % the interval.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from experiments.common.plots import COLOURS, save
from experiments.common.tables import table
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.forecasting import data as source
from experiments.uses.forecasting.windows import (
    BEFORE,
    BEST,
    HORIZONS,
    ROW,
    SERIES,
    VALUE,
    About,
    Naive,
    by_step,
    last_value,
    measures,
    naive_nats,
    season_before,
    series_of,
    value_before,
    windows,
)
from experiments.uses.settings import Settings

PATHS = 100
_MOST = 6000, 500, 2000
"""Windows to train, to validate, to test; of more, some at even distances are taken."""


class Forecast(NamedTuple):
    """Of one window, in z."""

    mean: Any
    """[H]"""
    interval: Any
    """[2, H]: 5 % of the paths are below the first, 5 % above the second."""
    nats: Any
    """[H]: -log p(z_t | all before it)."""


class Forecasting:
    """Forecasts with intervals; `data` is any table of numbers, one row a moment of time."""

    title = "forecasting"
    defaults = Settings(
        epochs=12, features=40, dropout=0.1, batch_size=64, buckets=1, learning_rate=3e-3
    )
    metric, higher_is_better = "nats", False

    def __init__(self, settings: Settings, about: About):
        self.settings, self.about = settings, about
        cells = rx.densely_connected(*(settings.make_cell() for _ in range(settings.layers)))
        head = rx.dense(2)
        self.network = rx.serial(cells, rx.dropout(settings.dropout), head)
        self.step = rx.stack(cells, head)
        """The same network without dropout, for one step."""
        self._predict = Predictor(self._forecast, shapes=1)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        """Rows in time: 60 % to train on, 20 % to validate, 20 % to test, as Lai et al. (2018).

        A window belongs to the split that holds all that is to be forecast; what it starts from
        may lie in the split before, as it would in use.
        """
        made = source.generate(seed) if path is None else source.read(path)
        count, series = made.values.shape
        horizon = min(24, count // 12)
        ends = [round(0.6 * count), round(0.8 * count), count]
        known = made.values[: ends[0]]
        changes = np.abs(np.diff(known, axis=0)).mean(0)
        seasons = [source.season_of(known[:, column], horizon) for column in range(series)]
        about = About(
            made.names,
            np.array(seasons),
            offsets=known.mean(0),
            scales=np.where(changes > 0, changes, 1.0),
        )
        begins = [2 * horizon + max(seasons), *ends]
        return Data(
            *(
                windows(made, about, horizon, range(begin, end - horizon + 1), most)
                for begin, end, most in zip(begins, ends, _MOST, strict=False)
            ),
            about=about,
        )

    def init(self, key: jax.Array) -> Any:
        return self.network.init(key, jnp.zeros((1, 3 + len(self.about.names))))

    def loss(
        self, params: Any, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        return jnp.sum(self._nats(params, example, key)), example.y_length

    def score(self, params: Any, examples: Examples) -> dict[str, float]:
        found = self._predict(params, examples)
        inside = [
            (f.interval[0] <= y[:, VALUE]) & (y[:, VALUE] <= f.interval[1])
            for f, y in zip(found, examples.ys, strict=True)
        ]
        scores = {
            "nats": float(np.mean([f.nats for f in found])),
            "coverage of 90 %": float(np.mean(inside)),
            **measures([f.mean for f in found], examples, self.about),
        }
        if examples.ys[0].shape[1] > BEST:
            best = measures([y[:, BEST] for y in examples.ys], examples, self.about)
            scores |= {f"{name}, best possible": value for name, value in best.items()}
        return scores

    def baseline(self, data: Data) -> dict[str, float]:
        """The last value, or the one a season before: whichever the validation part prefers.

        The nats are of a Gaussian one step ahead, around whichever of both validates better.
        """
        naive = self._naive(data)
        ahead = min(
            (value_before, season_before),
            key=lambda ahead: naive_nats(ahead, data.train, data.val),
        )
        return {
            "nats": naive_nats(ahead, data.train, data.test),
            **measures(
                [naive(x, y) for x, y in zip(*data.test, strict=True)], data.test, self.about
            ),
        }

    def show(self, params: Any, data: Data, folder: Path) -> list[str]:
        """How good it is at how many steps ahead, and a picture of some forecasts."""
        found, test, naive = self._predict(params, data.test), data.test, self._naive(data)
        rows = {
            "network": [forecast.mean for forecast in found],
            naive.__name__.replace("_", " "): [naive(x, y) for x, y in zip(*test, strict=True)],
        }
        if test.ys[0].shape[1] > BEST:
            rows["best possible"] = [y[:, BEST] for y in test.ys]
        ahead = [step for step in (1, *HORIZONS) if step <= len(test.ys[0])]
        lines = [
            [f"{measure}, {name}", *(f"{values[step - 1]:.4f}" for step in ahead)]
            for name, row in rows.items()
            for measure, values in by_step(row, test, self.about).items()
        ]
        picture = folder / "forecasts.png"
        self._draw(test, found, rows, picture)
        return [
            table(["steps ahead", *map(str, ahead)], sorted(lines, reverse=True)),
            f"{picture} has forecasts with their intervals.",
        ]

    def _naive(self, data: Data) -> Naive:
        def error(naive: Naive) -> float:
            forecasts = [naive(x, y) for x, y in zip(*data.val, strict=True)]
            return measures(forecasts, data.val, self.about)["mase"]

        return min((last_value, season_before), key=error)

    def _encode(self, params: Any, example: Example) -> tuple[Any, _Window]:
        """The state after reading the window, and by what it is scaled."""
        valid = jnp.arange(len(example.x)) < example.x_length
        x = jnp.where(valid[:, None], example.x, 0.0)
        values, last = x[:, VALUE], x[example.x_length - 1]
        changes = jnp.where(valid[1:], jnp.abs(jnp.diff(values)), 0.0)
        scale = 0.1 + jnp.sum(changes) / jnp.maximum(example.x_length - 1, 1)
        series = jax.nn.one_hot(last[SERIES].astype(jnp.int32), len(self.about.names))
        window = _Window(last[VALUE], scale, series)
        inputs = jax.vmap(window.inputs)(values[:-1], x[1:, BEFORE])
        state, _ = self.network.apply(params, inputs, length=example.x_length - 1)
        return state, window

    def _nats(self, params: Any, example: Example, key: jax.Array | None = None) -> jax.Array:
        """[H], 0 past the end: what each value costs, all before it known."""
        state, window = self._encode(params, example)
        valid = jnp.arange(len(example.y)) < example.y_length
        y = jnp.where(valid[:, None], example.y, 0.0)
        before = jnp.concatenate([window.last[None], y[:-1, VALUE]])
        inputs = jax.vmap(window.inputs)(before, y[:, BEFORE])
        _, outputs = self.network.apply(
            params, inputs, state=state, length=example.y_length, key=key
        )
        mean, deviation = jax.vmap(window.gaussian)(outputs, before)
        return jnp.where(valid, gaussian_nats(y[:, VALUE], mean, deviation), 0.0)

    def _forecast(self, params: Any, example: Example) -> Forecast:
        """Consumes a key that is the seed's and the row's."""
        (cells, _, head), window = self._encode(params, example)
        row = example.x[example.x_length - 1, ROW].astype(jnp.int32)
        key = jax.random.fold_in(jax.random.key(self.settings.seed), row)
        noise = jax.random.normal(key, (PATHS // 2, len(example.y)))

        def step(params: Any, carry: Any, inputs: Any, key: Any = None) -> Any:
            (state, before), (season_before, noise) = carry, inputs
            state, output = self.step.step(params, state, window.inputs(before, season_before))
            mean, deviation = window.gaussian(output, before)
            value = mean + deviation * noise
            return (state, value), value

        start = (cells, head), window.last
        path = rx.Cell(lambda key, x: (), lambda params: start, step, "path")
        weights = params[0], params[2]
        _, paths = jax.vmap(lambda noise: rx.unroll(path, weights, (example.y[:, BEFORE], noise)))(
            jnp.concatenate([noise, -noise])
        )
        interval = jnp.quantile(paths, jnp.array([0.05, 0.95]), axis=0)
        return Forecast(paths.mean(0), interval, self._nats(params, example))

    def _draw(self, test: Examples, found: list, rows: dict, path: Path) -> None:
        from matplotlib.figure import Figure  # here: it is slow to import

        which = series_of(test)
        columns = sorted(set(which))[:6]
        places = [np.flatnonzero(which == column) for column in columns]
        each = np.linspace(0, 1, -(-6 // len(columns)))  # how far into each series' test part
        picked = [own[int(at * (len(own) - 1))] for own in places for at in each]
        figure = Figure(figsize=(12, 6.4), layout="constrained")
        for ax, index in zip(figure.subplots(2, 3).flat, picked, strict=False):
            x, y, column = test.xs[index], test.ys[index], which[index]
            offset, scale = self.about.offsets[column], self.about.scales[column]
            past, future, both = x[:, ROW], y[:, ROW], np.r_[x[-1:, VALUE], y[:, VALUE]]
            low, high = offset + scale * found[index].interval
            ax.fill_between(future, low, high, color=COLOURS[0], alpha=0.2, label="90 %")
            ax.plot(past, offset + scale * x[:, VALUE], color="#777777", linewidth=1, label="past")
            ax.plot(np.r_[past[-1], future], offset + scale * both, color="black", label="truth")
            for colour, (name, row) in zip(COLOURS, rows.items(), strict=False):
                ax.plot(future, offset + scale * row[index], color=colour, linewidth=1, label=name)
            ax.set_title(self.about.names[column], fontsize=9, parse_math=False)
            ax.spines[["top", "right"]].set_visible(False)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=8,
            frameon=False,
        )
        save(figure, path)


class _Window(NamedTuple):
    """How one window's numbers are seen by the network."""

    last: jax.Array
    scale: jax.Array
    series: jax.Array
    """[C], one-hot."""

    def inputs(self, before: jax.Array, season_before: jax.Array) -> jax.Array:
        """[3 + C] of the value before and of the one a season before, in z."""
        differences = jnp.stack([before - self.last, season_before - before]) / self.scale
        return jnp.concatenate([differences, jnp.log(self.scale)[None], self.series])

    def gaussian(self, output: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation, in z, of the network's two numbers."""
        deviation = self.scale * (jax.nn.softplus(output[1]) + 0.01)
        return before + self.scale * output[0], deviation


def gaussian_nats(value: Any, mean: Any, deviation: Any) -> Any:
    """-log N(value; mean, deviation^2)."""
    return (
        0.5 * jnp.log(2 * jnp.pi)
        + jnp.log(deviation)
        + 0.5 * jnp.square((value - mean) / deviation)
    )
