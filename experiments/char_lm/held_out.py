"""The loss on held-out text: every letter of it once, each after all letters before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.model import CharModel, Params
from experiments.char_lm.step import matmul_precision, nats
from experiments.common.devices import data_mesh, replicate, shard

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

    With one stream that is what it is, letter after letter. With more, each stream scores a part
    of the text and reads `warm_up` letters before its part first, instead of all that came before;
    everything is still scored once.
    """

    def __init__(
        self,
        model: CharModel,
        text: np.ndarray,
        config: TrainConfig,
        *,
        streams: int = 1,
        warm_up: int = 0,
    ):
        predicted = len(text) - 1
        part = -(-predicted // streams)
        warm_up = 0 if streams == 1 else min(warm_up, predicted - 1)
        # Every stream reads equally much; the first has nothing to warm up on and reads on instead.
        begins = part * np.arange(streams)[:, None]
        starts = np.maximum(begins - warm_up, 0)
        self._chunk = max(_LETTERS // streams, 1)
        length = part + warm_up
        positions = starts + np.arange(-(-length // self._chunk) * self._chunk)
        scored = (positions >= begins) & (positions < np.minimum(begins + part, predicted))
        positions = np.minimum(positions, predicted - 1)
        self._inputs, self._targets, self._scored = text[positions], text[positions + 1], scored
        self._model, self._mesh, self._predicted = model, data_mesh(streams), predicted

        def read(params: Params, carried: Any, inputs: Any, targets: Any, scored: Any):
            with matmul_precision(config):
                carried, scores = jax.vmap(model.read, (None, 0, 0))(params, carried, inputs)
            return carried, jnp.sum(jnp.where(scored, nats(scores, targets), 0))

        self._read = jax.jit(read)

    def __call__(self, params: Params) -> Loss:
        params = replicate(params, self._mesh)
        streams = len(self._inputs)
        carried = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (streams, *leaf.shape)),
            self._model.initial_state(params),
        )
        carried, sums = shard(carried, self._mesh), []
        for at in range(0, self._inputs.shape[1], self._chunk):
            now = slice(at, at + self._chunk)
            batch = (self._inputs[:, now], self._targets[:, now], self._scored[:, now])
            carried, total = self._read(params, carried, *shard(batch, self._mesh))
            sums.append(total)
        total = np.array(jax.device_get(sums), np.float64).sum()
        return Loss(float(total / self._predicted), self._predicted)
