"""What other trained models think of the training pairs: word-level distillation.

Kim and Rush (2016): a student learns from each target position's whole distribution under a
teacher, and not from the one piece that stands there. The teachers read every pair once, before
training; of each distribution the likeliest pieces are kept.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.common.devices import over_rows, replicate, shard
from experiments.common.errors import UserError
from experiments.common.files import read_file, write_file
from experiments.common.progress import Progress
from experiments.translation.batches import Batch, Batches, Soft
from experiments.translation.folder import ModelFolder
from experiments.translation.loss import shifted
from experiments.translation.tokenizer import BOS, Vocabularies

KEPT = 16
"""Pieces kept of each distribution: of an 11-million-parameter Multi30k model they hold 92%."""


class Teacher:
    """The mean of the predictions of some trained models, on the devices of `mesh`.

    Each is the mean of all its best checkpoints that are kept.

    Raises:
      UserError: no intact model in a folder, or other vocabularies there.
    """

    def __init__(self, paths: Sequence[Path], vocabularies: Vocabularies, mesh: Mesh):
        translators, params = [], []
        for path in paths:
            folder = ModelFolder(path)
            _, theirs, translator, own = folder.load(folder.config().keep)
            if theirs != vocabularies:
                raise UserError(
                    f"{path} has other vocabularies than the run that it is to teach: train both "
                    f"on the same data with the same `vocabulary` and `joint`."
                )
            translators.append(translator)
            params.append(own)
        self.mesh, self._params = mesh, replicate(tuple(params), mesh)

        def read(params: Any, source: jax.Array, length: Any, target: jax.Array) -> Any:
            predicted = []
            for translator, own in zip(translators, params, strict=True):
                ys, _ = translator.teach(own, source, length, shifted(target, BOS))
                predicted.append(jax.nn.softmax(translator.logits(own, ys).astype(jnp.float32)))
            return jax.lax.top_k(sum(predicted) / len(predicted), min(KEPT, translators[0].pieces))

        self._read = over_rows(read, mesh, shared=1)

    def __call__(self, batch: Batch) -> Soft:
        """The likeliest pieces at each target position."""
        rows = batch.source, batch.source_length, batch.target
        found = self._read(self._params, *shard(rows, self.mesh))
        return Soft(*map(np.asarray, found))


class SoftTargets(NamedTuple):
    """A teacher's distributions at every target position of a training split."""

    starts: np.ndarray
    """[N + 1] where the positions of each pair begin; the pairs are in the split's order."""
    probabilities: np.ndarray
    """[positions, KEPT], float16"""
    pieces: np.ndarray
    """[positions, KEPT], int32"""

    def attached(self, batch: Batch) -> Batch:
        """The batch with what the teacher makes of its pairs; past their ends it is nothing."""
        shape = (*batch.target.shape, self.pieces.shape[1])
        soft = Soft(np.zeros(shape, np.float32), np.zeros(shape, np.int32))
        for row, pair in enumerate(batch.pair):
            if pair >= 0:
                span = slice(self.starts[pair], self.starts[pair + 1])
                length = span.stop - span.start
                soft.probabilities[row, :length] = self.probabilities[span]
                soft.pieces[row, :length] = self.pieces[span]
        return batch._replace(soft=soft)

    def write(self, path: Path) -> None:
        """Raises UserError where it cannot be written."""
        file = io.BytesIO()
        np.savez(file, **self._asdict())
        write_file(path, file.getvalue())

    @staticmethod
    def read(path: Path) -> SoftTargets:
        """Raises UserError where the file cannot be read or is damaged."""
        try:
            with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as arrays:
                return SoftTargets(**arrays)
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}, what the teacher predicted, is damaged ({error}); without the file the "
                f"same command has it predicted anew."
            ) from error


def soft_targets(teacher: Teacher, batches: Batches) -> SoftTargets:
    """What the teacher makes of every pair of an epoch of `batches`; shows its progress."""
    found: dict[int, Soft] = {}
    with Progress(batches.per_epoch) as progress:
        progress.say("the teacher reads the training pairs")
        for index in range(batches.per_epoch):
            batch = batches[index]
            soft = teacher(batch)
            for row, (pair, length) in enumerate(zip(batch.pair, batch.target_length, strict=True)):
                found[int(pair)] = Soft(*(leaf[row, :length] for leaf in soft))
            progress.update(int(batch.target_length.sum()))
    found.pop(-1, None)  # rows that only fill up
    probabilities, pieces = zip(*(found[pair] for pair in sorted(found)), strict=True)
    return SoftTargets(
        np.concatenate([[0], np.cumsum([len(one) for one in pieces])]),
        np.concatenate(probabilities).astype(np.float16),
        np.concatenate(pieces),
    )
