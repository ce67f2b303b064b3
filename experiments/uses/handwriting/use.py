"""Many to many, and generation of real numbers: where does the pen go next?

The network of Graves, "Generating sequences with recurrent neural networks" (2013), section 4: it
reads the points so far, every layer sees the input and all layers below it, and all of them tell
the output, which is a mixture of M Gaussians for the next offset (dx, dy) (mixture.py). Graves has
a Bernoulli for the end of a stroke; here the pen's state q has three values, as in sketch-rnn (Ha
and Eck, 2018): it goes on, is lifted, or is lifted for good, so that drawings end by themselves.

    loss = -sum_t log p(dx_t, dy_t) + log p(q_t),    each given all points before t

in nats a point. The density is that of offsets in the units of the data: the network works with
offsets divided by s, their standard deviation over the training split, and 2 log s is added.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.handwriting import data as source
from experiments.uses.handwriting.drawings import draw_density, draw_rows
from experiments.uses.handwriting.mixture import Mixture, draw, expectation, log_density, mixture
from experiments.uses.settings import Settings
from experiments.uses.splits import split

GAUSSIANS, COLUMNS, BIASES = 20, 10, (0.0, 0.5, 1.0)
_PENS = 3


class Params(NamedTuple):
    """Of the recurrent layers, of dropout, and of the 6 M + 3 outputs."""

    network: Any


class About(NamedTuple):
    """Of the training split."""

    scale: float
    """s, the standard deviation of offsets."""
    longest: int
    """Points of the longest drawing."""


class Handwriting:
    """Handwriting, point by point; `data` is `kanji.npz` or `omniglot.npz` (see the README)."""

    title = "handwriting"
    defaults = Settings(epochs=16, features=128, dropout=0.0, learning_rate=5e-3)
    metric, higher_is_better = "nats", False

    def __init__(self, settings: Settings, about: About):
        self.settings, self.about = settings, about
        cells = [settings.make_cell() for _ in range(settings.layers)]
        layers = rx.densely_connected(*cells), rx.dense(6 * GAUSSIANS + _PENS)
        self.network = rx.serial(layers[0], rx.dropout(settings.dropout), layers[1])
        self._step = rx.stack(*layers)  # the same network step by step, with params[::2]
        self._predict = Predictor(self._measures)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        parts = split(source.generate(seed), seed) if path is None else source.read(path)
        scale = float(np.concatenate(parts[0])[:, :2].std())
        about = About(scale, max(map(len, parts[0])))
        return Data(*(_examples(part) for part in parts), about=about)

    def init(self, key: jax.Array) -> Params:
        return Params(self.network.init(key, jnp.zeros((1, 2 + _PENS))))

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        return self._measures(params, example, key)[0], example.y_length

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        found = np.stack(self._predict(params, examples)).astype(np.float64)
        mean = found.sum(0) / sum(map(len, examples.ys))
        return {"nats": float(mean[0]), "squared_error": float(mean[1])}

    def baseline(self, data: Data) -> dict[str, float]:
        """A Gaussian around a straight line in the last offset, and how often each pen follows.

        One for each state of the pen before.
        """

        def sides(part: Examples) -> tuple[np.ndarray, np.ndarray]:
            before, after = (np.concatenate(side).astype(np.float64) for side in part)
            return before, after

        (before, after), (seen, wanted) = sides(data.train), sides(data.test)
        nats, squares = np.zeros(len(wanted)), np.zeros(len(wanted))
        for pen in range(_PENS):
            known, asked = before[:, 2] == pen, seen[:, 2] == pen
            if not asked.any():
                continue
            # As little of nothing as keeps a state that training hardly has from being singular.
            inputs, outputs = _with_one(before[known, :2]), after[known, :2]
            weights, *_ = np.linalg.lstsq(inputs, outputs, rcond=None)
            rest = outputs - inputs @ weights
            cov = (rest.T @ rest + 1e-3 * self.about.scale**2 * np.eye(2)) / (len(rest) + 1e-3)
            off = wanted[asked, :2] - _with_one(seen[asked, :2]) @ weights
            distance = np.einsum("ni,ij,nj->n", off, np.linalg.inv(cov), off)
            often = 0.5 + np.bincount(after[known, 2].astype(int), minlength=_PENS)
            log_p = np.log(often / often.sum())[wanted[asked, 2].astype(int)]
            _, volume = np.linalg.slogdet(2 * np.pi * cov)
            nats[asked], squares[asked] = distance / 2 + volume / 2 - log_p, (off**2).sum(1)
        mean = squares.mean() / self.about.scale**2
        return {"nats": float(nats.mean()), "squared_error": float(mean)}

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """Drawings of the test split, drawings of the network's own, and its density over one."""
        true = list(data.test.ys[:COLUMNS])
        rows, ended = {"test split": true}, []
        for number, bias in enumerate(BIASES):
            key = jax.random.fold_in(jax.random.key(self.settings.seed), number)
            made = self.generate(params, key, COLUMNS, bias)
            ended.append(sum(one[-1, 2] == source.DONE for one in made))
            rows[f"generated, bias {bias:g}"] = made
        draw_rows(rows, folder / "drawings.png")
        length = np.int32(len(true[0]))
        first = Example(data.test.xs[0], length, true[0], length)
        found, _ = jax.device_get(jax.vmap(_parts)(self._outputs(params, first)))
        draw_density(found, true[0], self.about.scale, folder / "density.png")
        return [
            f"{folder / 'drawings.png'} has drawings of the test split and the network's own: "
            f"{', '.join(map(str, ended))} of {COLUMNS} end by themselves (probability bias "
            f"{', '.join(f'{bias:g}' for bias in BIASES)}); {folder / 'density.png'} shows where "
            f"it expected each point of the first of the test split."
        ]

    def generate(
        self, params: Params, key: jax.Array, count: int, bias: float = 0.0
    ) -> list[np.ndarray]:
        """Drawings [T, 3] that the network makes by itself, in the units of the data.

        Each ends where the pen is lifted for good, or is as long as the longest to train on.

        Args:
          key: consumed.
          bias: Graves' probability bias; the pen's states get it as the weights do.
        """

        def step(params, state, x, key):
            state, outputs = self._step.step(params, state, x)
            key_offset, key_pen = jax.random.split(key)
            found, pens = _parts(outputs, bias)
            pen = jax.random.categorical(key_pen, pens)
            return state, jnp.append(draw(key_offset, found), pen)

        sampling = rx.Cell(self._step.init, self._step.initial_state, step, "sampling")
        model = rx.autoregressive(sampling, self.about.longest, feed=_features)
        start = _features(jnp.array([0.0, 0.0, source.LIFTED]))

        def one(params: Params, key: jax.Array) -> jax.Array:
            return model.apply(params.network[::2], start, key=key)[1]

        keys = jax.random.split(key, count)
        made = np.asarray(jax.jit(jax.vmap(one, (None, 0)))(params, keys))
        made = made * [self.about.scale, self.about.scale, 1]
        ends = [np.flatnonzero(one[:, 2] == source.DONE) for one in made]
        return [one[: end[0] + 1] if len(end) else one for one, end in zip(made, ends, strict=True)]

    def _measures(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> jax.Array:
        """[2] sums over the points: nats, and the squared error of the expected offset over s^2."""
        valid = jnp.arange(len(example.y)) < example.y_length
        points = jnp.where(valid[:, None], example.y, 0)
        offsets, pens = points[:, :2] / self.about.scale, points[:, 2].astype(jnp.int32)

        def of_point(outputs, offset, pen):
            found, log_pens = _parts(outputs)
            nats = -log_density(found, offset) - log_pens[pen] + 2 * np.log(self.about.scale)
            return jnp.stack([nats, jnp.sum((expectation(found) - offset) ** 2)])

        measured = jax.vmap(of_point)(self._outputs(params, example, key), offsets, pens)
        return jnp.sum(measured, axis=0, where=valid[:, None])

    def _outputs(self, params: Params, example: Example, key: jax.Array | None = None) -> jax.Array:
        """[T, 6 M + 3]"""
        scaled = jnp.asarray(example.x) / jnp.array([self.about.scale, self.about.scale, 1])
        xs = jax.vmap(_features)(scaled)
        return self.network.apply(params.network, xs, length=example.x_length, key=key)[1]


def _with_one(offsets: np.ndarray) -> np.ndarray:
    return np.column_stack([offsets, np.ones(len(offsets))])


def _features(point: jax.Array) -> jax.Array:
    """[5] that the network reads of a point: the scaled offset, and the pen as one of three."""
    return jnp.concatenate([point[:2], jax.nn.one_hot(point[2].astype(jnp.int32), _PENS)])


def _parts(outputs: jax.Array, bias: float = 0.0) -> tuple[Mixture, jax.Array]:
    """Of one step's outputs: the mixture, and [3] log p of the pen's states."""
    return mixture(outputs[:-_PENS], bias), jax.nn.log_softmax((1 + bias) * outputs[-_PENS:])


def _examples(drawings: list[np.ndarray]) -> Examples:
    """x is a point behind y, and begins with a pen that was lifted somewhere."""
    start = np.array([[0, 0, source.LIFTED]], np.float32)
    return Examples([np.concatenate([start, one[:-1]]) for one in drawings], drawings)
