"""Many to one: does a sentence speak well of a thing?

A bidirectional network reads the words; the largest value that each feature takes over time goes
to a linear classifier, so that the end of a long sentence counts no more than its beginning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import recurrax as rx
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.sentiment import data as source
from experiments.uses.settings import Settings
from experiments.uses.splits import split
from experiments.uses.words import Vocabulary


class Params(NamedTuple):
    """V words, E = `features`."""

    embedding: jax.Array  # [V, E]
    network: Any


class Sentiment:
    """Sentiment of sentences; `data` is the sentence polarity set of Pang and Lee (2005)."""

    title = "sentiment"
    defaults = Settings(epochs=4, dropout=0.2, learning_rate=5e-3)
    metric, higher_is_better = "accuracy", True

    def __init__(self, settings: Settings, about: Vocabulary):
        self.settings, self.vocabulary = settings, about
        layers = [rx.dropout(settings.dropout)]
        for _ in range(settings.layers):
            layers.append(rx.bidirectional(settings.make_cell(), settings.make_cell()))
        self.network = rx.serial(
            *layers,
            rx.dropout(settings.dropout, variational=True),
            rx.pool("max"),
            rx.one_step(rx.dense(len(source.CLASSES))),
        )
        self._predict = Predictor(self._scores)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        reviews = source.generate(seed) if path is None else source.read(path)
        parts = split(reviews, seed)
        vocabulary = Vocabulary.of((review.words for review in parts[0]), at_least=2)
        return Data(*(_examples(part, vocabulary) for part in parts), about=vocabulary)

    def init(self, key: jax.Array) -> Params:
        key_embedding, key_network = jax.random.split(key)
        shape = len(self.vocabulary), self.settings.features
        embedding = 0.1 * jax.random.normal(key_embedding, shape)
        return Params(embedding, self.network.init(key_network, embedding[:1]))

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        scores = self._scores(params, example, key)
        return optax.softmax_cross_entropy_with_integer_labels(scores, example.y), 1

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        found = self._predict(params, examples)
        right = [np.argmax(scores) == y for scores, y in zip(found, examples.ys, strict=True)]
        nats = [
            float(optax.softmax_cross_entropy_with_integer_labels(scores, y))
            for scores, y in zip(found, examples.ys, strict=True)
        ]
        return {"accuracy": float(np.mean(right)), "nats": float(np.mean(nats))}

    def baseline(self, data: Data) -> dict[str, float]:
        """Naive Bayes over the words, in no order."""
        counts = np.ones((len(source.CLASSES), len(self.vocabulary)))
        for words, label in zip(*data.train, strict=True):
            np.add.at(counts[label], words, 1)
        log_p = np.log(counts / counts.sum(1, keepdims=True))
        prior = np.log(np.bincount(data.train.ys, minlength=len(source.CLASSES)))
        right = [
            np.argmax(prior + log_p[:, words].sum(1)) == label
            for words, label in zip(*data.test, strict=True)
        ]
        return {"accuracy": float(np.mean(right))}

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """The first sentences of the test split."""
        few = Examples(data.test.xs[:8], data.test.ys[:8])
        lines = []
        for words, label, scores in zip(*few, self._predict(params, few), strict=True):
            p = float(jax.nn.softmax(scores)[1])
            text = " ".join(self.vocabulary.decode(words))
            lines.append(f"  p(positive) {p:.2f}, is {source.CLASSES[label]}: {text}")
        return lines

    def _scores(self, params: Params, example: Example, key: jax.Array | None = None) -> jax.Array:
        xs = params.embedding[example.x]
        _, scores = self.network.apply(params.network, xs, length=example.x_length, key=key)
        return scores


def _examples(reviews: list[source.Review], vocabulary: Vocabulary) -> Examples:
    return Examples(
        [vocabulary.encode(review.words) for review in reviews],
        [np.int32(review.label) for review in reviews],
    )
