"""Many to one: what a piece of DNA is.

A bidirectional network (Schuster and Paliwal, 1997) reads the nucleotides. Its outputs in the
middle, where a splice junction is or is not, and the largest value of each feature over all places,
for what may be anywhere, go to a linear classifier:

    score = W [y_(T // 2), max_t y_t] + b
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.metrics import precision_recall_fscore_support

import recurrax as rx
from experiments.common.plots import save
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.genome import data as source
from experiments.uses.settings import Settings
from experiments.uses.splits import split


class Params(NamedTuple):
    """The network along the nucleotides, and the classifier on top."""

    network: Any
    classifier: Any


class Genome:
    """DNA; `data` is splice.arff or promoters.data of UCI."""

    title = "genome"
    defaults = Settings(epochs=15, features=64, dropout=0.2, learning_rate=3e-3)
    metric, higher_is_better = "accuracy", True

    def __init__(self, settings: Settings, about: tuple[str, ...]):
        self.settings, self.classes = settings, about
        layers = []
        for number in range(settings.layers):
            layers += [rx.dropout(settings.dropout)] if number else []
            layers.append(rx.bidirectional(settings.make_cell(), settings.make_cell()))
        self.network = rx.serial(*layers)
        self.pool = rx.pool("max")
        self.classifier = rx.as_model(rx.one_step(rx.dense(len(about))))
        self._predict = Predictor(self._scores)
        self._slopes = Predictor(self._slope)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        strands, classes = source.generate(seed) if path is None else source.read(path)
        # Equal sequences go to the same split: the 3,190 splice junctions are 3,005 different ones.
        groups: dict[str, list[source.Strand]] = {}
        for strand in strands:
            groups.setdefault(strand.letters, []).append(strand)
        parts = split(list(groups.values()), seed)
        return Data(*(_examples(part) for part in parts), about=classes)

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key)
        xs = jnp.zeros((2, len(source.LETTERS)))
        both = jnp.zeros(4 * self.settings.features)
        return Params(self.network.init(keys[0], xs), self.classifier.init(keys[1], both))

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        scores = self._scores(params, example, key)
        return optax.softmax_cross_entropy_with_integer_labels(scores, example.y), 1

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        """Accuracy, the mean F1 of the classes, and each class's recall and F1."""
        found = [np.argmax(scores) for scores in self._predict(params, examples)]
        return scores_of(examples.ys, found, self.classes)

    def baseline(self, data: Data) -> dict[str, float]:
        """Naive Bayes over what stands at each place, from the middle."""
        widest = max(len(x) for part in data[:3] for x in part.xs) + 1

        def placed(examples: Examples) -> np.ndarray:  # [N, T, 4]
            rows = np.zeros((len(examples.xs), widest, len(source.LETTERS)))
            for row, x in zip(rows, examples.xs, strict=True):
                begin = widest // 2 - len(x) // 2
                row[begin : begin + len(x)] = x
            return rows

        train, labels = placed(data.train), np.asarray(data.train.ys)
        counts = 1 + np.stack([train[labels == c].sum(0) for c in range(len(self.classes))])
        log_p = np.log(counts / counts.sum(-1, keepdims=True))
        prior = np.log(np.bincount(labels, minlength=len(self.classes)))
        found = (prior + np.einsum("ntd,ctd->nc", placed(data.test), log_p)).argmax(1)
        return scores_of(data.test.ys, found, self.classes)

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """Sequences of each class, what was found, and which nucleotides decided."""
        labels = np.asarray(data.test.ys)
        found = np.array([np.argmax(s) for s in self._predict(params, data.test)])
        slopes = self._slopes(params, data.test)
        slopes = [slope[: len(x)] for slope, x in zip(slopes, data.test.xs, strict=True)]
        lines, chosen = [], []
        for label, name in enumerate(self.classes):
            for row in np.flatnonzero(labels == label)[:3]:
                letters = source.decode(data.test.xs[row])
                lines.append(f"  is {name}, found {self.classes[found[row]]}: {letters}")
                chosen.append(row)
        path = folder / "sequences.png"
        draw_sequences(
            [source.decode(data.test.xs[row]) for row in chosen],
            [(slopes[row] * data.test.xs[row]).sum(-1) for row in chosen],
            [self.classes[labels[row]] for row in chosen],
            path,
        )
        lines.append(f"{path} has what each of their nucleotides speaks for.")
        if len({len(x) for x in data.test.xs}) == 1:  # else a place means nothing by itself
            path = folder / "places.png"
            of = {
                name: np.mean(np.stack(slopes)[labels == label], axis=0)
                for label, name in enumerate(self.classes)
                if label in labels
            }
            draw_places(list(of.values()), list(of), path)
            lines.append(f"{path} has what each nucleotide at each place speaks for.")
        return lines

    def _scores(self, params: Params, example: Example, key: jax.Array | None = None) -> jax.Array:
        length = example.x_length
        key, key_drop = (None, None) if key is None else jax.random.split(key)
        _, ys = self.network.apply(params.network, example.x, length=length, key=key)
        _, highest = self.pool.apply((), ys, length=length)
        both = jnp.concatenate([ys[length // 2], highest])
        both = rx.drop(key_drop, both, self.settings.dropout)
        return self.classifier.apply(params.classifier, both)[1]

    def _slope(self, params: Params, example: Example) -> jax.Array:
        """[T, 4]: by how much each nucleotide at each place would favour the right class.

        The gradient of its score over the mean of the classes', less its mean over the four, since
        only one for another can be had (Majdandzic et al., 2023).
        """

        def favour(x: jax.Array) -> jax.Array:
            scores = self._scores(params, example._replace(x=x))
            return scores[example.y] - scores.mean()

        slope = jax.grad(favour)(example.x)
        return slope - slope.mean(-1, keepdims=True)


def _examples(groups: list[list[source.Strand]]) -> Examples:
    strands = [strand for group in groups for strand in group]
    return Examples(
        [source.encode(strand.letters) for strand in strands],
        [np.int32(strand.label) for strand in strands],
    )


def scores_of(right: Any, found: Any, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy, the mean of the classes' F1, and the recall and F1 of each."""
    labels = np.arange(len(classes))
    measured: Any = precision_recall_fscore_support(
        np.asarray(right),
        np.asarray(found),
        labels=labels,
        zero_division=0,  # pyright: ignore[reportArgumentType] - inferred from the default "warn"
    )
    _, recall, f1, _ = measured
    scores = {"accuracy": float(np.mean(np.equal(right, found))), "f1": float(np.mean(f1))}
    for label, name in enumerate(classes):
        scores |= {f"recall {name}": float(recall[label]), f"f1 {name}": float(f1[label])}
    return scores


def draw_places(means: Sequence[np.ndarray], classes: Sequence[str], path: Path) -> None:
    """A panel for each class, of its [T, 4]: places side by side, the nucleotides in rows."""
    from matplotlib.figure import Figure  # here: it is slow to import

    steps = len(means[0])
    figure = Figure(figsize=(2 + 0.13 * steps, 1.2 * len(means) + 0.6), layout="constrained")
    axes = figure.subplots(len(means), 1, sharex=True, squeeze=False)[:, 0]
    top = max(np.abs(mean).max() for mean in means)
    for ax, mean, name in zip(axes, means, classes, strict=True):
        image = ax.imshow(mean.T, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        ax.set_yticks(range(len(source.LETTERS)), source.LETTERS, fontsize=7)
        ax.set_ylabel(name)
        ax.axvline(steps // 2 - 0.5, color="black", linewidth=0.6)
    # As biologists count: -1 is followed by 1.
    places = [place + (place >= 0) for place in range(-(steps // 2), steps - steps // 2)]
    ticks = [at for at, place in enumerate(places) if place == 1 or place % 5 == 0]
    axes[-1].set_xticks(ticks, [str(places[at]) for at in ticks])
    axes[-1].set_xlabel("place from the middle")
    figure.colorbar(image, ax=axes, label="speaks for the class")  # pyright: ignore
    save(figure, path)


def draw_sequences(
    letters: Sequence[str], weights: Sequence[np.ndarray], names: Sequence[str], path: Path
) -> None:
    """A row for each sequence: its letters on the colour of their weights."""
    from matplotlib.figure import Figure

    longest = max(map(len, letters))
    image = np.full((len(letters), longest), np.nan)
    for row, weight in zip(image, weights, strict=True):
        row[: len(weight)] = weight / max(np.abs(weight).max(), 1e-12)
    figure = Figure(figsize=(2 + 0.13 * longest, 0.6 + 0.24 * len(letters)), layout="constrained")
    ax = figure.subplots()
    ax.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for row, line in enumerate(letters):
        for at, letter in enumerate(line):
            colour = "white" if abs(image[row, at]) > 0.6 else "black"
            ax.text(at, row, letter, ha="center", va="center", fontsize=6, color=colour)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xticks([])
    save(figure, path)
