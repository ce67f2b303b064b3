"""A model of the other direction, which says how well a translation explains its source.

What it finds ranks an n-best list (Li et al., 2016), as in a noisy channel (Yee et al., 2019).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import recurrax as rx
from experiments.common.devices import over_rows, replicate, shard
from experiments.common.errors import UserError
from experiments.translation.batches import pad
from experiments.translation.config import DataConfig
from experiments.translation.folder import ModelFolder
from experiments.translation.tokenizer import BOS, Tokenizer

_ROUND = 16
"""Widths are multiples of it, so that few programs are compiled."""


class Reverse:
    """log p(source | translation) in nats, of rows that are split over `mesh`.

    Its pieces are its own: it reads and writes text.

    Raises:
      UserError: no intact model in the folder.
    """

    def __init__(self, folder: ModelFolder, average: int, mesh: Mesh):
        config, self._vocabularies, translator, params = folder.load(average)
        self._path, self._data = folder.path, config.data
        self._params, self.mesh = replicate(params, mesh), mesh

        def score(params: Any, read: jax.Array, length: Any, tokens: jax.Array, count: Any):
            encoded = translator.encode(params, read, length)
            step = functools.partial(translator.step, params, encoded.memory)
            return rx.score(step, encoded.state, tokens, count, bos=BOS).log_prob

        self._score = over_rows(score, mesh, shared=1)

    def check_turns_round(self, data: DataConfig) -> None:
        """Raises UserError where its data are not those of the other direction."""
        own = self._data
        languages = (own.source, own.target), (data.target, data.source)
        columns = own.columns, data.columns[::-1]
        if languages[0] != languages[1] and columns[0] != columns[1]:
            raise UserError(
                f"{self._path} translates from {own.source} to {own.target}; a reverse model must "
                f"go from {data.target} to {data.source}, or from one column to the other."
            )

    def __call__(self, sources: Sequence[str], translations: Sequence[Sequence[str]]) -> np.ndarray:
        """[B, N], for N translations of each of B sources."""
        count = len(translations[0])
        read = [text for row in translations for text in row]
        wanted = [source for source in sources for _ in range(count)]
        vocabularies = self._vocabularies
        rows = (*_padded(vocabularies.source, read), *_padded(vocabularies.target, wanted))
        found = self._score(self._params, *shard(rows, self.mesh))
        return np.asarray(found).reshape(len(sources), count)


def _padded(tokenizer: Tokenizer, sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    pieces = tokenizer.encode_all(sentences)
    longest = 1 + max(map(len, pieces))
    return pad(pieces, len(pieces), -(-longest // _ROUND) * _ROUND)
