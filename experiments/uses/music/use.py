"""Many to many, and generation: which notes sound next?

A recurrent network reads the chords so far, and every key of the piano gets its probability for
the next step, independent of the other keys given the past: with logits a_t and keys v_t in {0, 1},

    -log p(v_1 .. v_T) = sum_t sum_k softplus(a_tk) - v_tk a_tk,    a_t = f(v_1 .. v_{t-1}),

in nats a step, the first step included. Models that also say which notes go together, such as the
RNN-RBM and the RNN-NADE of Boulanger-Lewandowski, Bengio and Vincent, "Modeling temporal
dependencies in high-dimensional sequences" (2012), reach lower values; this is their RNN. Chords
are sampled key by key, and each is the next input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrax as rx
from experiments.uses.batches import Predictor
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.music import data as source
from experiments.uses.music.midi import draw_rolls, write_midi
from experiments.uses.settings import Settings
from experiments.uses.splits import split

OPENING, CONTINUATION, PIECES = 16, 48, 4


class Params(NamedTuple):
    """Of dropout and cell in turn, then of dropout and the 88 logits."""

    network: Any


class Music:
    """Polyphonic music; `data` holds chorales as Boulanger-Lewandowski et al. (2012) split them."""

    title = "music"
    defaults = Settings(epochs=25, features=128, dropout=0.1, batch_size=16, learning_rate=5e-3)
    metric, higher_is_better = "nats", False

    def __init__(self, settings: Settings, about: None = None):
        self.settings = settings
        cells = [*(settings.make_cell() for _ in range(settings.layers)), rx.dense(source.KEYS)]
        layers = [layer for cell in cells for layer in (rx.dropout(settings.dropout), cell)]
        self.network = rx.serial(*layers)
        self._step = rx.stack(*cells)  # the same network step by step, with params[1::2]
        self._predict = Predictor(self._logits)

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        parts = split(source.generate(seed), seed) if path is None else source.read(path)
        return Data(*map(_examples, parts))

    def init(self, key: jax.Array) -> Params:
        return Params(self.network.init(key, jnp.zeros((1, source.KEYS))))

    def loss(
        self, params: Params, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        logits = self._logits(params, example, key)
        nats = optax.sigmoid_binary_cross_entropy(logits, example.y.astype(logits.dtype)).sum(1)
        valid = jnp.arange(len(nats)) < example.y_length
        return jnp.sum(nats, where=valid), example.y_length

    def score(self, params: Params, examples: Examples) -> dict[str, float]:
        found = self._predict(params, examples)
        logits = [a[: len(piece)] for a, piece in zip(found, examples.ys, strict=True)]
        return measures(np.concatenate(logits), np.concatenate(examples.ys))

    def baseline(self, data: Data) -> dict[str, float]:
        """Each key's frequency, or that the chord stays, whichever validates better.

        That the chord stays: p(on | on) and p(on | off), two numbers for each key.
        """
        before, now = (np.concatenate(side).astype(bool) for side in data.train)
        often = (now.sum(0) + 0.5) / (len(now) + 1)
        stays = ((now & before).sum(0) + 0.5) / (before.sum(0) + 1)
        comes = ((now & ~before).sum(0) + 0.5) / ((~before).sum(0) + 1)

        def score(part: Examples, name: str) -> dict[str, float]:
            xs, ys = map(np.concatenate, part)
            p = np.where(xs, stays, comes) if name == "stays" else np.broadcast_to(often, xs.shape)
            return measures(np.log(p) - np.log1p(-p), ys)

        best = min(("often", "stays"), key=lambda name: score(data.val, name)["nats"])
        return score(data.test, best)

    def show(self, params: Params, data: Data, folder: Path) -> list[str]:
        """Goes on from the openings of test pieces; and where in the pieces the network errs."""
        pieces = [piece for piece in data.test.ys if len(piece) > 2 * OPENING][:PIECES]
        lines, rolls = [self._thirds(params, data.test)], {}
        if not pieces:
            return lines
        openings = np.stack([piece[:OPENING] for piece in pieces])
        keys = jax.random.split(jax.random.key(self.settings.seed), len(pieces))
        generate = jax.jit(jax.vmap(self.generate, in_axes=(None, 0, 0)))
        continued = np.asarray(generate(params, openings, keys))
        for number, (piece, opening, rest) in enumerate(
            zip(pieces, openings, continued, strict=True), 1
        ):
            whole = np.concatenate([opening, rest])
            rolls[f"test piece {number}"] = piece[: len(whole)]
            rolls[f"its opening, continued by the network ({number}.mid)"] = whole
            write_midi(whole, folder / f"{number}.mid")
        draw_rolls(rolls, OPENING, folder / "music.png")
        return [
            *lines,
            f"{folder / 'music.png'} shows how the network goes on from the first {OPENING} steps "
            f"of test pieces; to be heard in 1.mid to {len(pieces)}.mid beside it.",
        ]

    def generate(self, params: Params, opening: Any, key: jax.Array) -> jax.Array:
        """[CONTINUATION, 88] uint8, sampled after an opening [T, 88]; consumes the key."""

        def step(params, state, chord, key):
            state, logits = self._step.step(params, state, chord)
            return state, jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(chord.dtype)

        chords = jnp.asarray(opening, jnp.float32)
        heard = jnp.concatenate([jnp.zeros_like(chords[:1]), chords[:-1]])
        cells = params.network[1::2]
        state, _ = rx.unroll(self._step, cells, heard)
        sampling = rx.Cell(self._step.init, self._step.initial_state, step, "sampling")
        generator = rx.autoregressive(sampling, CONTINUATION)
        return generator.apply(cells, chords[-1], state=state, key=key)[1].astype(jnp.uint8)

    def _thirds(self, params: Params, examples: Examples) -> str:
        sums = np.zeros(3)
        for logits, piece in zip(self._predict(params, examples), examples.ys, strict=True):
            nats = _nats(logits[: len(piece)], piece)
            sums += [part.mean() if len(part) else 0.0 for part in np.array_split(nats, 3)]
        first, middle, last = sums / len(examples.ys)
        return (
            f"nats a step by thirds of the test pieces: {first:.3g} in the first, {middle:.3g} in "
            f"the second, {last:.3g} in the last"
        )

    def _logits(self, params: Params, example: Example, key: jax.Array | None = None) -> jax.Array:
        xs = jnp.asarray(example.x, jnp.float32)
        return self.network.apply(params.network, xs, length=example.x_length, key=key)[1]


def measures(logits: np.ndarray, roll: np.ndarray) -> dict[str, float]:
    """How well logits [T, 88] say what sounds in a roll [T, 88].

    Returns:
      nats: a step.
      accuracy: TP / (TP + FP + FN) (Bay et al., 2009) of what would be sampled, each count by its
        expectation, sum of p v for TP.
      f1: 2 TP / (2 TP + FP + FN) of the keys that are likelier than not.
    """
    p, v = 1 / (1 + np.exp(-logits.astype(np.float64))), roll.astype(bool)
    likely = logits > 0
    return {
        "nats": float(_nats(logits, roll).mean()),
        "accuracy": float(p[v].sum() / (p.sum() + (1 - p)[v].sum())),
        "f1": float(2 * (likely & v).sum() / max(likely.sum() + v.sum(), 1)),
    }


def _nats(logits: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """[T]"""
    return (np.logaddexp(0, logits.astype(np.float64)) - logits * roll).sum(1)


def _examples(rolls: list[np.ndarray]) -> Examples:
    """x is a step behind y, and begins with silence."""
    return Examples([np.concatenate([0 * roll[:1], roll[:-1]]) for roll in rolls], rolls)
