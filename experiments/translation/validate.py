"""How a model does while it is trained: loss and greedy BLEU on the validation split."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.common.devices import shard
from experiments.translation.batches import Batches
from experiments.translation.loss import batch_loss
from experiments.translation.model import Params, Translator
from experiments.translation.scoring import score
from experiments.translation.search import Search
from experiments.translation.text import Pair
from experiments.translation.tokenizer import BOS, Vocabularies


class Scored(NamedTuple):
    """How the model does on the validation split."""

    bleu: float
    loss: float
    """Nats a piece."""
    example: tuple[str, str, str]
    """A source sentence, its reference and its translation."""


class Validator:
    """Loss and greedy BLEU on the validation split; compiles once."""

    def __init__(
        self,
        translator: Translator,
        vocabularies: Vocabularies,
        pairs: list[Pair],
        mesh: Mesh,
        batch_size: int,
    ):
        self._pairs, self._mesh = pairs, mesh
        self._search = Search(translator, vocabularies, mesh, batch_size=batch_size, beam_size=0)
        self._loss = jax.jit(lambda params, batch: batch_loss(translator, params, batch, bos=BOS))
        self._batches = Batches(
            pairs, vocabularies, batch_size=batch_size, shapes=4, max_pieces=10**6
        )

    def __call__(self, params: Params, example: int) -> Scored:
        sources, references = zip(*self._pairs, strict=True)
        found = self._search(params, sources, length_penalty=0.0)
        texts = [hypotheses[0].text if hypotheses else "" for hypotheses in found]
        sums = [
            self._loss(params, shard(self._batches[i], self._mesh))
            for i in range(self._batches.per_epoch)
        ]
        total, count = np.array(jax.device_get(sums), np.float64).sum(0)
        example %= len(texts)
        return Scored(
            score(texts, references).bleu,
            float(total / count),
            (sources[example], references[example], texts[example]),
        )
