"""Many to many, unaligned: the digits that are spoken in a recording, which does not say when.

Bidirectional recurrent layers read the spectrum and give every step of 30 ms a distribution over
the ten digits and a blank. An alignment is one label a step; merging equal neighbours and removing
blanks leaves a string, which is as likely as all its alignments together. The loss is

    -log p(digits) = -log sum over alignments of prod_t p_t(label_t)

(connectionist temporal classification, Graves et al., 2006), and the string is found by prefix
beam search (Hannun et al., 2014).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from experiments.common.plots import COLOURS, save
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings
from experiments.uses.speech import data as source

BLANK = 10
"""The label behind the digits."""
TIMES = 4
"""In how many strings to train on each recording is; in validation and test, in two."""


class About(NamedTuple):
    """What is known of the training split, and what only the baseline is told."""

    mean: np.ndarray  # [D] of the features, over all steps
    deviation: np.ndarray  # [D]
    train_starts: list[tuple[int, ...]]
    """The steps in which the digits of each string to train on begin, and how many steps it has."""
    test_starts: list[tuple[int, ...]]


class Speech:
    """Strings of spoken digits; `data` is the Free Spoken Digit Dataset."""

    title = "speech"
    defaults = Settings(
        epochs=8, features=64, layers=2, dropout=0.3, learning_rate=4e-3, buckets=2, batch_size=16
    )
    metric, higher_is_better = "digit error rate", False
    beam = 8

    def __init__(self, settings: Settings, about: About):
        self.settings, self.about = settings, about
        layers: list[Any] = []
        for _ in range(settings.layers):
            layers.append(rx.bidirectional(settings.make_cell(), settings.make_cell()))
            layers.append(rx.dropout(settings.dropout))
        self.network = rx.serial(*layers, rx.dense(BLANK + 1))
        self._predict = Predictor(self._recognise, shapes=settings.buckets)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        recordings = source.generate(seed) if path is None else source.read(path)
        train, val, test = (
            source.strings(part, seed + number, times=TIMES if number == 0 else 2)
            for number, part in enumerate(source.parts(recordings))
        )
        steps = np.concatenate([string.features for string in train])
        mean, deviation = steps.mean(0), steps.std(0) + 1e-3
        known = [[string.starts for string in part] for part in (train, test)]
        about = About(mean, deviation, *known)
        return Data(*(_examples(part, about) for part in (train, val, test)), about=about)

    def init(self, key: jax.Array) -> Any:
        return self.network.init(key, jnp.zeros((1, source.BANDS * source.STACK)))

    def loss(
        self, params: Any, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        logits = self._logits(params, example, key)
        loss = rx.decode.ctc_loss(
            logits,
            example.y,
            length=example.x_length,
            label_length=example.y_length,
            blank=BLANK,
        )
        return loss, example.y_length

    def score(self, params: Any, examples: Examples) -> dict[str, float]:
        found = self._predict(params, examples)
        beam, greedy = (
            _rates([one[name] for one in found], examples.ys) for name in ("beam", "greedy")
        )
        nats = sum(one["nats"] for one in found) / sum(map(len, examples.ys))
        return {
            **beam,
            **{f"greedy {name}": value for name, value in greedy.items()},
            "nats a digit": float(nats),
        }

    def baseline(self, data: Data) -> dict[str, float]:
        """The nearest digit to train on by its mean spectrum, told where each digit begins."""
        train, test = (
            [_means(x, known) for x, known in zip(part.xs, starts, strict=False)]
            for part, starts in (
                (data.train, self.about.train_starts),
                (data.test, self.about.test_starts),
            )
        )
        means, digits = np.concatenate(train), np.concatenate(data.train.ys)
        squares = (means**2).sum(1)
        found = [digits[np.argmin(squares - 2 * string @ means.T, 1)] for string in test]
        return _rates(found, data.test.ys)

    def show(self, params: Any, data: Data, folder: Path) -> list[str]:
        """Strings of the test split, wrong ones first, and the labels over time of a long one."""
        found = self._predict(params, data.test)
        said = [_spelt(y) for y in data.test.ys]
        strings = list(zip(said, [_spelt(one["beam"]) for one in found], strict=True))
        order = sorted(range(len(strings)), key=lambda i: strings[i][0] == strings[i][1])
        few = [*order[:4], *order[-4:]]
        lines = [f"  said {strings[i][0]}, recognised {strings[i][1] or 'nothing'}" for i in few]
        longest = max(range(len(strings)), key=lambda i: (len(strings[i][0]), -i))
        x, one = data.test.xs[longest], found[longest]
        probabilities = one["probabilities"][: len(x)]
        picture = folder / "labels.png"
        _draw(x * self.about.deviation + self.about.mean, probabilities, strings[longest], picture)
        return [*lines, f"{picture} has a spectrum and the labels over it."]

    def _logits(self, params: Any, example: Example, key: jax.Array | None = None) -> jax.Array:
        _, logits = self.network.apply(params, example.x, length=example.x_length, key=key)
        return logits

    def _recognise(self, params: Any, example: Example) -> dict[str, Any]:
        """The strings of both searches, filled up with BLANK; probabilities [T, 11]; the loss."""
        logits = self._logits(params, example)
        best = rx.ctc_beam_search(
            logits,
            beam_size=self.beam,
            length=example.x_length,
            blank=BLANK,
            n_best=1,
            max_length=2 * source.LONGEST,
        )
        greedy = rx.ctc_greedy(logits, length=example.x_length, blank=BLANK)
        return {
            "beam": best.tokens[0],
            "greedy": greedy.tokens[0],
            "probabilities": jax.nn.softmax(logits),
            "nats": self.loss(params, example)[0],
        }


def _examples(strings: Sequence[source.Spoken], about: About) -> Examples:
    return Examples(
        [((one.features - about.mean) / about.deviation).astype(np.float32) for one in strings],
        [np.array(one.digits, np.int32) for one in strings],
    )


def _spelt(labels: Iterable[int]) -> str:
    return " ".join(str(label) for label in labels if label != BLANK)


def _rates(found: Sequence[Any], digits: Sequence[Any]) -> dict[str, float]:
    """Edits (substitutions, insertions, deletions) a digit that was said, and strings right."""
    import jiwer

    hypotheses, references = ([_spelt(labels) for labels in side] for side in (found, digits))
    right = [a == b for a, b in zip(hypotheses, references, strict=True)]
    return {
        "digit error rate": float(jiwer.wer(references, hypotheses)),
        "strings right": float(np.mean(right)),
    }


def _means(x: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """[digits, BANDS]: the mean spectrum from where each digit begins to where the next does."""
    spans = itertools.pairwise(starts)
    return np.stack([x[a : max(b, a + 1)].reshape(-1, source.BANDS).mean(0) for a, b in spans])


def _draw(features: np.ndarray, probabilities: np.ndarray, texts: Any, path: Path) -> None:
    """The spectrum above the labels' probabilities over time, as Graves et al. (2006) show them."""
    from matplotlib.figure import Figure  # here: it is slow to import

    figure = Figure(figsize=(10, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    seconds = len(features) * source.STACK / 100
    image = features.reshape(-1, source.BANDS).T
    above.imshow(image, origin="lower", aspect="auto", extent=(0, seconds, 0, source.BANDS))
    above.set(ylabel="mel band", title=f"said {texts[0]}, recognised {texts[1] or 'nothing'}")
    times = (np.arange(len(probabilities)) + 0.5) * source.STACK / 100
    below.plot(times, probabilities[:, BLANK], ":", color="#999999", linewidth=1)
    for digit in range(BLANK):
        colour, line = COLOURS[digit % len(COLOURS)], "-" if digit < len(COLOURS) else "--"
        below.plot(times, probabilities[:, digit], line, color=colour)
    best, first = probabilities.argmax(1), 0
    for label, run in itertools.groupby(best):
        last = first + len(list(run)) - 1
        if label != BLANK:
            middle = (times[first] + times[last]) / 2
            below.text(middle, 1.03, str(label), ha="center", color=COLOURS[label % len(COLOURS)])
        first = last + 1
    below.set(xlabel="seconds", ylabel="probability (dotted: blank)", ylim=(0, 1.15))
    save(figure, path)
