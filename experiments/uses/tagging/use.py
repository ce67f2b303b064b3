"""Many to many, step by step: the part of speech of each word of a sentence.

A bidirectional network reads the letters of each word, from each end (Ling et al., 2015); its two
last states beside the word's own embedding are what a second one reads along the sentence (Plank et
al., 2016). The loss is the sum over the words of -log p(tag), each tag by itself.

A word that training has c times is read as the unknown one with probability a / (a + c) there
(Kiperwasser and Goldberg, 2016), so that this learns what to leave to the letters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrax as rx
from experiments.common.plots import save
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings
from experiments.uses.splits import split
from experiments.uses.tagging import data as source
from experiments.uses.words import UNKNOWN, Vocabulary

FIRST, LAST = 4, 8
"""Letters that are read of a longer word, at its beginning and at its end."""
UNKNOWN_RATE = 0.25
"""The a of a / (a + c)."""


class About(NamedTuple):
    """Of the training split: its words, how often each occurs, its letters."""

    words: Vocabulary
    counts: np.ndarray  # [V]
    letters: Vocabulary


class Params(NamedTuple):
    """V words, A letters and the lack of one, E = `features`."""

    words: jax.Array  # [V, E]
    letters: jax.Array  # [1 + A, E / 2]
    spelling: Any
    network: Any


class Tagging:
    """Parts of speech; `data` is a treebank of Universal Dependencies, CoNLL-U."""

    title = "tagging"
    defaults = Settings(epochs=5, buckets=3, features=64, dropout=0.33, learning_rate=5e-3)
    metric, higher_is_better = "accuracy", True

    def __init__(self, settings: Settings, about: About):
        self.settings, self.about = settings, about
        half = dataclasses.replace(settings, features=max(1, settings.features // 2))
        self.spelling = rx.bidirectional(
            *(rx.serial(half.make_cell(), rx.pool("last")) for _ in "ab")
        )
        layers = [rx.dropout(settings.dropout)]
        for _ in range(settings.layers):
            layers += [
                rx.bidirectional(settings.make_cell(), settings.make_cell()),
                rx.dropout(settings.dropout),
            ]
        self.network = rx.serial(*layers, rx.dense(len(source.TAGS)))
        self._unknown_rates = UNKNOWN_RATE / (UNKNOWN_RATE + about.counts)
        self._predict = Predictor(lambda params, example: self._scores(params, example).argmax(-1))

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        parts = split(source.generate(seed), seed) if path is None else source.read(path)
        texts = [sentence.words for sentence in parts[0]]
        words = Vocabulary.of(texts)
        letters = Vocabulary.of(word for text in texts for word in text)
        numbers = np.concatenate([words.encode(text) for text in texts])
        about = About(words, np.bincount(numbers, minlength=len(words)), letters)
        return Data(*(examples(part, about) for part in parts), about=about)

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key, 4)
        features, half = self.settings.features, max(1, self.settings.features // 2)
        words = 0.1 * jax.random.normal(keys[0], (len(self.about.words), features))
        letters = 0.1 * jax.random.normal(keys[1], (1 + len(self.about.letters), half))
        spelling = self.spelling.init(keys[2], letters[:1])
        both = jnp.zeros((1, features + 2 * half))
        return Params(words, letters, spelling, self.network.init(keys[3], both))

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        scores = self._scores(params, example, key)
        nats = optax.softmax_cross_entropy_with_integer_labels(scores, example.y)
        valid = jnp.arange(len(nats)) < example.y_length
        return jnp.where(valid, nats, 0).sum(), example.y_length

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        """Of all words; of those that training does not have; sentences without an error."""
        return scores(examples, self._tags(params, examples))

    def baseline(self, data: Data) -> dict[str, float]:
        """Each word's most frequent tag; of an unknown one, that of the words met once."""
        counts = np.zeros((len(self.about.words), len(source.TAGS)), np.int64)
        for x, y in zip(*data.train, strict=True):
            np.add.at(counts, (x[:, 0], y), 1)
        counts[UNKNOWN] = counts[self.about.counts == 1].sum(0)
        best = counts.argmax(1)
        return scores(data.test, [best[x[:, 0]] for x in data.test.xs])

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """Sentences with errors, those without left out, and which tag is taken for which."""
        found = self._tags(params, data.test)
        wrong = [row for row, tags in enumerate(found) if np.any(tags != data.test.ys[row])]
        lines = ["Sentences with errors; the right tag follows the wrong one:"]
        for row in wrong[:6]:
            words = self._spelled(data.test.xs[row])
            lines.append("  " + marked(words, found[row], data.test.ys[row]))
        path = folder / "confusion.png"
        confusion_matrix(np.concatenate(data.test.ys), np.concatenate(found), path)
        return [*lines, f"{path} has which tag is taken for which."]

    def _tags(self, params: Params, examples: Examples) -> list[np.ndarray]:
        found = self._predict(params, examples)
        return [tags[: len(y)] for tags, y in zip(found, examples.ys, strict=True)]

    def _scores(self, params: Params, example: Example, key: jax.Array | None = None) -> jax.Array:
        """[T, tags]"""
        words, letters = example.x[:, 0], example.x[:, 1:]
        if key is not None:
            key, key_words = jax.random.split(key)
            unknown = jax.random.bernoulli(key_words, jnp.asarray(self._unknown_rates)[words])
            words = jnp.where(unknown, UNKNOWN, words)

        def spell(letters: jax.Array) -> jax.Array:
            length = (letters > 0).sum()
            _, both = self.spelling.apply(params.spelling, params.letters[letters], length=length)
            return both

        xs = jnp.concatenate([params.words[words], jax.vmap(spell)(letters)], axis=-1)
        _, ys = self.network.apply(params.network, xs, length=example.x_length, key=key)
        return ys

    def _spelled(self, x: np.ndarray) -> list[str]:
        """The words again; of one whose middle is not read, that is left out."""
        words = []
        for row in x:
            letters = [self.about.letters.words[code - 1] for code in row[1:] if code]
            word = "".join(letter if len(letter) == 1 else "?" for letter in letters)
            known = self.about.words.words[row[0]]
            words.append(word if row[0] == UNKNOWN else known)
        return words


def examples(sentences: Iterable[source.Sentence], about: About) -> Examples:
    """x [T, 1 + FIRST + LAST]: the word's number, and each letter's + 1; 0 where there is none."""
    xs, ys = [], []
    for sentence in sentences:
        x = np.zeros((len(sentence.words), 1 + FIRST + LAST), np.int32)
        x[:, 0] = about.words.encode(sentence.words)
        for row, word in zip(x, sentence.words, strict=True):
            if len(word) > FIRST + LAST:
                word = word[:FIRST] + word[-LAST:]
            row[1 : 1 + len(word)] = 1 + about.letters.encode(word)
        xs.append(x)
        ys.append(np.array(sentence.tags, np.int32))
    return Examples(xs, ys)


def scores(examples: Examples, found: Sequence[np.ndarray]) -> dict[str, float]:
    """Shares of words and of sentences that are right; that of unseen words if there are any."""
    right = [tags == y for tags, y in zip(found, examples.ys, strict=True)]
    unseen = np.concatenate([x[:, 0] == UNKNOWN for x in examples.xs])
    words = np.concatenate(right)
    return {
        "accuracy": float(words.mean()),
        **({"accuracy_unseen": float(words[unseen].mean())} if unseen.any() else {}),
        "sentences": float(np.mean([r.all() for r in right])),
    }


def marked(words: Sequence[str], found: Iterable[int], right: Iterable[int]) -> str:
    """`word/TAG`, and where that is wrong `word/TAG(RIGHT)`."""
    pieces = []
    for word, tag, truth in zip(words, found, right, strict=True):
        fault = "" if tag == truth else f"({source.TAGS[truth]})"
        pieces.append(f"{word}/{source.TAGS[tag]}{fault}")
    return " ".join(pieces)


def confusion_matrix(right: np.ndarray, found: np.ndarray, path: Path) -> np.ndarray:
    """Draws the share of each tag's words that got each tag; the counts [TAGS, TAGS]."""
    from matplotlib.figure import Figure  # here: it is slow to import

    counts = np.zeros((len(source.TAGS),) * 2, np.int64)
    np.add.at(counts, (right, found), 1)
    there = np.flatnonzero(counts.sum(0) + counts.sum(1))
    shown = counts[np.ix_(there, there)]
    shares = shown / np.maximum(shown.sum(1, keepdims=True), 1)
    names = [source.TAGS[tag] for tag in there]
    figure = Figure(figsize=(2.5 + 0.4 * len(there), 2 + 0.4 * len(there)), layout="constrained")
    ax = figure.subplots()
    # The root, since nearly all is on the diagonal.
    ax.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(shown), strict=True):
        colour = "white" if shares[row, column] > 0.4 else "black"
        text = str(shown[row, column])
        ax.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    ax.set_xticks(range(len(there)), names, rotation=60, ha="right", fontsize=8)
    ax.set_yticks(range(len(there)), names, fontsize=8)
    ax.set(xlabel="found", ylabel="right")
    save(figure, path)
    return counts
