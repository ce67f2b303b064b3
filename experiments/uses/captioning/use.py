"""One to many: what is to be seen in a picture, in words.

A convolutional encoder makes of the picture a grid of S features a_i, and an attention decoder
writes the caption, after Xu et al. (2015), "Show, attend and tell" (soft attention):

    w_t  = softmax_i v . tanh(a_i W_a + h_{t-1} W_h),   z_t = sum_i w_ti a_i
    h_t  = cell([E y_{t-1}, z_t], h_{t-1}),   the first state: tanh(mean_i a_i W)
    p(y_t | y_<t) = softmax(O tanh([h_t, z_t, E y_{t-1}] W_o))

and the loss is -sum_t log p(y_t | y_<t) over the words and the end. Theirs reads features of a
network trained on ImageNet; here the encoder is small and learns with the decoder. Their gate of
the context and their penalty on unequal attention are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import recurrax as rx
from experiments.translation.scoring import score as score_texts
from experiments.uses.batches import Predictor
from experiments.uses.captioning import data as source
from experiments.uses.captioning.pictures import draw_attention, draw_captions
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings
from experiments.uses.splits import split
from experiments.uses.words import BEGIN, END, UNKNOWN, Vocabulary

SHIFT = 2
"""Pixels by which a picture to train on is shifted at random."""


STRIDES = (2, 2, 1)
"""Of the convolutions: the grid is a quarter of the picture, each way."""


class About(NamedTuple):
    """What is known of captions."""

    vocabulary: Vocabulary
    """Of all splits, so that references can be spelt."""
    known: int
    """The first so many numbers are what the network can write; the others are UNKNOWN to it."""
    longest: int
    """The most words that a caption may have, the end counted."""


class Params(NamedTuple):
    """S places of M features, E = `features` of a word, V words."""

    encoder: tuple[Any, ...]  # a layer each, [9 C] -> [M]
    places: jax.Array  # [S, M], added to the grid: where a place is
    start: Any  # [M] -> the decoder's first state
    attention: Any
    embedding: jax.Array  # [V, E]
    decoder: Any
    mix: Any  # [H + M + E] -> [E]
    output: Any  # [E] -> [V]


class Writing(NamedTuple):
    """What the decoder carries from word to word."""

    layers: Any
    h: jax.Array  # [H], the last output


class Captioning:
    """Captions of pictures; `data` is a folder of emoji and their names."""

    title = "captioning"
    defaults = Settings(epochs=12, features=64, dropout=0.2, learning_rate=3e-3, buckets=1)
    metric, higher_is_better = "BLEU", True
    beam = 5

    def __init__(self, settings: Settings, about: About):
        self.settings, self.about = settings, about
        self.convolution = rx.dense(settings.features)
        self.attention = rx.additive(settings.features)
        self.decoder = rx.stack(*(settings.make_cell() for _ in range(settings.layers)))
        self.mix = rx.dense(settings.features, activation=jnp.tanh)
        self.output = rx.dense(about.known)
        # Pictures are of one size and captions short: one program will do.
        self._forced = Predictor(lambda params, example: self.loss(params, example)[0], shapes=1)
        self._search = Predictor(self._written, shapes=1)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        if path is None:
            parts = source.generate(seed)
        else:
            # Whole groups are split: a test picture has no variant in training.
            groups = split(source.read(path), seed)
            parts = [[picture for group in part for picture in group] for part in groups]
        captions = [[picture.words for picture in part] for part in parts]
        known = Vocabulary.of(captions[0], at_least=2).words
        others = {word for part in captions for words in part for word in words} - {*known}
        vocabulary = Vocabulary((*known, *sorted(others)))
        longest = 1 + max(map(len, captions[0]))
        return Data(
            *(_examples(part, vocabulary) for part in parts),
            about=About(vocabulary, len(known), longest),
        )

    def init(self, key: jax.Array) -> Params:
        width, known = self.settings.features, self.about.known
        keys = jax.random.split(key, 8)
        word, grid = jnp.zeros(width), jnp.zeros(((source.SIZE // 4) ** 2, width))
        decoder = self.decoder.init(keys[5], jnp.zeros(2 * width))
        start, _ = ravel_pytree(self.decoder.initial_state(decoder))
        return Params(
            encoder=tuple(
                self.convolution.init(k, jnp.zeros(9 * channels))
                for k, channels in zip(jax.random.split(keys[0], 3), (3, width, width), strict=True)
            ),
            places=0.1 * jax.random.normal(keys[1], grid.shape),
            start=rx.dense(start.size).init(keys[2], word),
            attention=self.attention.init(keys[3], word, grid),
            embedding=0.1 * jax.random.normal(keys[4], (known, width)),
            decoder=decoder,
            mix=self.mix.init(keys[6], jnp.zeros(3 * width)),
            output=self.output.init(keys[7], word),
        )

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        rate, keys = self.settings.dropout, [None] * 4 if key is None else jax.random.split(key, 4)
        valid = jnp.arange(example.y.shape[0]) < example.y_length
        words = jnp.where(valid & (example.y < self.about.known), example.y, UNKNOWN)
        memory, state = self._look(params, example.x, keys[0], keys[1])
        embedded = params.embedding[jnp.append(BEGIN, words[:-1])]
        embedded = rx.drop(keys[2], embedded, rate)

        def step(state: Writing, word: jax.Array) -> Any:
            state, features, _ = self._advance(params, memory, state, word)
            return state, features

        _, features = rx.scan(step, state, embedded)
        logits = jax.vmap(self._logits, (None, 0))(params, rx.drop(keys[3], features, rate))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, words)
        return jnp.where(valid, nats, 0).sum(), example.y_length

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        nats = np.sum(self._forced(params, examples)) / sum(map(len, examples.ys))
        found = self._search(params, examples)
        references = self._texts(examples.ys)
        scores = _scores(self._texts([one["beam"] for one in found]), references)
        greedy = _scores(self._texts([one["greedy"] for one in found]), references)
        return {**scores, "greedy BLEU": greedy["BLEU"], "nats a token": float(nats)}

    def baseline(self, data: Data) -> dict[str, float]:
        """The caption of the training picture whose pixels are nearest."""
        train = np.stack(data.train.xs).reshape(len(data.train.xs), -1).astype(np.float32)
        squares = (train**2).sum(1)
        near = [
            int(np.argmin(squares - 2 * train @ x.reshape(-1).astype(np.float32)))
            for x in data.test.xs
        ]
        return _scores(self._texts([data.train.ys[i] for i in near]), self._texts(data.test.ys))

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """Test pictures with what was written, and where attention was in one of them."""
        few = np.random.default_rng(0).permutation(len(data.test.xs))[:12]
        few = Examples([data.test.xs[i] for i in few], [data.test.ys[i] for i in few])
        found = self._search(params, few)
        written, references = self._texts([one["beam"] for one in found]), self._texts(few.ys)
        lines = [f"  {text} (is: {name})" for text, name in zip(written, references, strict=True)]
        captions, looks = folder / "captions.png", folder / "attention.png"
        draw_captions(few.xs, written, references, captions)
        longest = max(range(len(few.xs)), key=lambda i: len(written[i].split()))
        words = [*written[longest].split(), "(end)"]
        draw_attention(few.xs[longest], words, found[longest]["attention"], looks)
        return [*lines, f"{captions} has the pictures, {looks} where attention was."]

    def step(
        self, params: Params, memory: rx.Memory, state: Writing, word: jax.Array
    ) -> tuple[Writing, rx.StepOutput]:
        """One step of a search: logits [V], attention [S]."""
        state, features, weights = self._advance(params, memory, state, params.embedding[word])
        return state, rx.StepOutput(self._logits(params, features), weights)

    def _look(
        self,
        params: Params,
        pixels: jax.Array,
        key_shift: jax.Array | None = None,
        key_drop: jax.Array | None = None,
    ) -> tuple[rx.Memory, Writing]:
        """The grid as a memory, and the first state; keys shift the picture and drop features."""
        image = pixels[: source.SIZE].astype(jnp.float32) / 127.5 - 1
        if key_shift is not None:
            around = jnp.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
            corner = jax.random.randint(key_shift, (2,), 0, 2 * SHIFT + 1)
            image = jax.lax.dynamic_slice(around, (*corner, 0), image.shape)
        for layer, stride in zip(params.encoder, STRIDES, strict=True):
            image = jax.nn.relu(_convolved(layer, image, stride))
        grid = image.reshape(params.places.shape) + params.places
        grid = rx.drop(key_drop, grid, self.settings.dropout)
        first, unravel = ravel_pytree(self.decoder.initial_state(params.decoder))
        flat = jnp.tanh(grid.mean(0) @ params.start.w + params.start.b).astype(first.dtype)
        layers = unravel(flat)
        memory = self.attention.memory(params.attention, grid)
        return memory, Writing(layers, getattr(layers[-1], "h", layers[-1]))

    def _advance(
        self, params: Params, memory: rx.Memory, state: Writing, embedded: jax.Array
    ) -> tuple[Writing, jax.Array, jax.Array]:
        context, weights = self.attention.attend(params.attention, memory, state.h)
        entered = jnp.concatenate([embedded, context])
        layers, h = self.decoder.step(params.decoder, state.layers, entered)
        return Writing(layers, h), jnp.concatenate([h, context, embedded]), weights

    def _logits(self, params: Params, features: jax.Array) -> jax.Array:
        return self.output.step(params.output, (), self.mix.step(params.mix, (), features)[1])[1]

    def _written(self, params: Params, example: Example) -> dict[str, jax.Array]:
        """The best caption of a beam, with attention [T, S], and the greedy one."""
        memory, state = self._look(params, example.x)

        def plain(state: Writing, word: jax.Array) -> Any:
            return self.step(params, memory, state, word)

        step, state = rx.processed(plain, state, rx.decode.suppress(np.array([UNKNOWN, BEGIN])))
        options = {"bos": BEGIN, "eos": END, "max_length": self.about.longest}
        best = rx.beam_search(step, state, beam_size=self.beam, n_best=1, **options)
        greedy = rx.greedy(step, state, **options)
        attention = best.attention[0]
        return {"beam": best.tokens[0], "greedy": greedy.tokens[0], "attention": attention}

    def _texts(self, captions: Any) -> list[str]:
        return [" ".join(self.about.vocabulary.decode(words)) for words in captions]


def _convolved(layer: Any, image: jax.Array, stride: int) -> jax.Array:
    """3 x 3 around each `stride`-th place of an image [H, W, C], with zeros about it."""
    kernel = layer.w.reshape(3, 3, image.shape[-1], -1)
    maps = jax.lax.conv_general_dilated(
        image[None],
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return maps[0] + layer.b


def _scores(written: list[str], references: list[str]) -> dict[str, float]:
    scores = score_texts(written, references)
    exact = np.mean([a == b for a, b in zip(written, references, strict=True)])
    return {"BLEU": scores.bleu, "chrF": scores.chrf, "exact": float(exact)}


def _examples(pictures: list[source.Picture], vocabulary: Vocabulary) -> Examples:
    return Examples(
        [picture.pixels for picture in pictures],
        [np.append(vocabulary.encode(picture.words), np.int32(END)) for picture in pictures],
    )
