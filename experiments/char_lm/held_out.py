"""The loss on held-out text: every letter of it once, each after all letters before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.model import CharModel, Params
from experiments.char_lm.step import nats
from experiments.common.precision import matmul_precision

_LETTERS = 1 << 14
"""Read at once, so that memory does not grow with the text."""


class Loss(NamedTuple):
    """Means over `letters` predicted letters."""

    nats: float
    letters: int

    @property
    def bits(self) -> float:
        return self.nats / np.log(2)


class HeldOut:
    """Scores a text [N]: the mean of -log p(letter | all letters before it), N - 1 of them.

    In one stream, though many would be faster: each would begin in the middle of the text with an
    empty memory, which training has hardly ever seen, and a network may run away from there.
    """

    def __init__(self, model: CharModel, text: np.ndarray, config: TrainConfig):
        predicted = len(text) - 1
        chunk = min(_LETTERS, predicted)
        positions = np.arange(-(-predicted // chunk) * chunk).reshape(-1, chunk)
        self._scored = positions < predicted
        positions = np.minimum(positions, predicted - 1)
        self._inputs, self._targets = text[positions], text[positions + 1]
        self._model, self._predicted = model, predicted

        def read(params: Params, carried: Any, inputs: Any, targets: Any, scored: Any):
            with matmul_precision(config.precision):
                carried, scores = model.read(params, carried, inputs)
            return carried, jnp.sum(jnp.where(scored, nats(scores, targets), 0))

        self._read = jax.jit(read)

    def __call__(self, params: Params) -> Loss:
        # On one device: there is nothing to divide.
        params = jax.device_put(params, jax.local_devices()[0])
        carried, total = self._model.initial_state(params), 0.0
        for part in zip(self._inputs, self._targets, self._scored, strict=True):
            carried, found = self._read(params, carried, *part)
            total += float(found)
        return Loss(total / self._predicted, self._predicted)
