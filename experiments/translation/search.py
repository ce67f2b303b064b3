"""Translating sentences with a trained model: batches, compiled once a shape, back to text."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import recurrax as rx
from experiments.common.devices import shard
from experiments.common.errors import UserError
from experiments.translation.batches import evaluation_batches
from experiments.translation.model import Params, Translator
from experiments.translation.tokenizer import BOS, EOS, Vocabularies


class Hypothesis(NamedTuple):
    """One translation of one sentence."""

    text: str
    score: float
    """Log-probability in nats after the length penalty."""
    log_prob: float
    pieces: list[int]
    """Target pieces, without the end."""
    attention: np.ndarray
    """[pieces and the end, source pieces and the end]."""
    stop: rx.StopReason


class Search:
    """Translates with one model; keeps what it compiled, one program for each length bucket.

    Args:
      beam_size: the number of live hypotheses; 0 is greedy search.
      n_best: how many translations of each sentence; at most the beam, or 1.

    Raises:
      UserError: `beam_size` or `n_best` is out of its range.
    """

    def __init__(
        self,
        translator: Translator,
        vocabularies: Vocabularies,
        mesh: Mesh,
        *,
        batch_size: int = 64,
        beam_size: int = 5,
        n_best: int = 1,
    ):
        if beam_size < 0:
            raise UserError(f"a beam size must be at least 1, or 0 for greedy; got {beam_size}.")
        if not 1 <= n_best <= max(beam_size, 1):
            raise UserError(
                f"the number of translations a sentence must be from 1 to the beam size "
                f"{max(beam_size, 1)}; got {n_best}."
            )
        self.vocabularies = vocabularies
        self.mesh = mesh
        self.batch_size = batch_size
        self.n_best = n_best

        @functools.partial(jax.jit, static_argnames="max_length")
        def run(params, source, length, length_penalty, patience, *, max_length):
            def one(source, length):
                memory, state = translator.encode(params, source, length)
                search = rx.greedy
                if beam_size > 0:
                    search = functools.partial(
                        rx.beam_search, beam_size=beam_size, n_best=n_best, patience=patience
                    )
                return search(
                    functools.partial(translator.step, params, memory),
                    state,
                    bos=BOS,
                    eos=EOS,
                    max_length=max_length,
                    # Rows that only fill the batch have length 0: nothing is searched for them.
                    length_limit=jnp.where(length == 0, 0, _longest(length)),
                    length_penalty=length_penalty,
                )

            return jax.vmap(one)(source, length)

        self._run = run

    def __call__(
        self,
        params: Params,
        sentences: Sequence[str],
        *,
        length_penalty: float = 1.0,
        patience: float = math.inf,
        progress: Callable[[int], object] = lambda count: None,
    ) -> list[list[Hypothesis]]:
        """The `n_best` translations of each sentence, best first, in the order of `sentences`.

        A search ends where `patience` times the beam size of hypotheses have, or earlier where no
        other can be better.

        Raises:
          UserError: the penalty is not a finite number; the patience is not above 0.
        """
        if not math.isfinite(length_penalty):
            raise UserError(f"the length penalty must be a finite number; got {length_penalty}.")
        if not patience > 0:
            raise UserError(f"the patience must be above 0; got {patience}.")
        results: list[list[Hypothesis]] = [[] for _ in sentences]
        for batch in evaluation_batches(sentences, self.vocabularies.source, self.batch_size):
            found = self._run(
                params,
                *shard((batch.source, batch.source_length), self.mesh),
                length_penalty,
                patience,
                max_length=_longest(batch.source.shape[1]),
            )
            found = jax.device_get(found)
            for row, index in enumerate(batch.index):
                if index >= 0:
                    one = jax.tree.map(lambda leaf, row=row: leaf[row], found)
                    results[index] = self._hypotheses(one, int(batch.source_length[row]))
            progress(int((batch.index >= 0).sum()))
        return results

    def _hypotheses(self, found: rx.BeamResult, source_length: int) -> list[Hypothesis]:
        hypotheses = []
        for k in range(self.n_best):
            stop = rx.StopReason(int(found.stops[k]))
            if stop == rx.StopReason.EMPTY:
                break
            length = int(found.lengths[k])
            pieces = [int(piece) for piece in found.tokens[k, :length] if piece != EOS]
            hypotheses.append(
                Hypothesis(
                    self.vocabularies.target.decode(pieces),
                    float(found.scores[k]),
                    float(found.log_probs[k]),
                    pieces,
                    found.attention[k, :length, :source_length],
                    stop,
                )
            )
        return hypotheses


def _longest(source_length):
    """The most target pieces for a source length: no reasonable translation is longer."""
    return 2 * source_length + 10
