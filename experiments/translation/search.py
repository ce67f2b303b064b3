"""Translating sentences with a trained model: batches, compiled once a shape, back to text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

import recurrax as rx
from experiments.common.devices import shard
from experiments.common.errors import UserError
from experiments.translation import strategies
from experiments.translation.batches import SourceBatch, evaluation_batches
from experiments.translation.decoding import Decoding
from experiments.translation.ensemble import Ensemble
from experiments.translation.model import Translator
from experiments.translation.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Vocabularies


class Hypothesis(NamedTuple):
    """One translation of one sentence."""

    text: str
    score: float
    """Log-probability in nats after the penalties; its expected utility, where mbr chose it."""
    log_prob: float
    pieces: list[int]
    """Target pieces, without the end."""
    attention: np.ndarray
    """[pieces and the end, source pieces and the end]."""
    stop: rx.StopReason
    gap: float
    """How much better, at most, a translation that was not found can be; 0: this is proven."""


class Search:
    """Translates with one model; keeps what it compiled, one program for each length bucket.

    Args:
      translator: a model, or several as an `Ensemble`.
      beam_size: the number of live hypotheses; 0 is greedy search.
      n_best: how many translations of each sentence.
      decoding: how to search.

    Raises:
      UserError: `beam_size` or `n_best` is out of its range, or a required phrase holds a character
        that the model does not know.
    """

    def __init__(
        self,
        translator: Translator | Ensemble,
        vocabularies: Vocabularies,
        mesh: Mesh,
        *,
        batch_size: int = 64,
        beam_size: int = 5,
        n_best: int = 1,
        decoding: Decoding = Decoding(),  # noqa: B008 - it cannot change
    ):
        self.vocabularies = vocabularies
        self.mesh = mesh
        self.batch_size = batch_size
        self.n_best = n_best
        self.decoding = decoding
        rows = decoding.rows(beam_size, n_best)
        self._phrases = _phrases(decoding.require, vocabularies.target)
        self._characters = _characters(vocabularies.target)

        @functools.partial(jax.jit, static_argnames=("plan", "max_length"))
        def run(setting, source, length, index, *, plan, max_length):
            def one(*sentence):
                return strategies.find(
                    translator,
                    plan,
                    setting,
                    *sentence,
                    beam_size=beam_size,
                    rows=rows,
                    max_length=max_length,
                )

            return jax.vmap(one)(source, length, index)

        @functools.partial(jax.jit, static_argnames=("plan", "max_length"))
        def settle(setting, found, source, length, *, plan, max_length):
            def one(*sentence):
                return strategies.settle(
                    translator, plan, setting, *sentence, rows=rows, max_length=max_length
                )

            return jax.vmap(one)(found, source, length)

        self._run, self._settle = run, settle
        self._cover = jax.jit(jax.vmap(strategies.cover, (0, 0, None)))

    def __call__(
        self,
        params: Any,
        sentences: Sequence[str],
        *,
        progress: Callable[[int], object] = lambda count: None,
        **changes: float,
    ) -> list[list[Hypothesis]]:
        """The `n_best` translations of each sentence, best first, in the order of `sentences`.

        Args:
          params: of the translator; a tuple of them for an ensemble.
          progress: called with the number of sentences that are done, after each batch.
          changes: numbers among the options of `Decoding`, such as `length_penalty=0.0`, for this
            call. What a `Strengths` holds compiles nothing anew.

        Raises:
          UserError: a number is out of its range.
        """
        decoding = dataclasses.replace(self.decoding, **changes)  # type: ignore[arg-type]
        setting = strategies.Setting(
            params, decoding.strengths, self._phrases, self._characters, np.uint32(decoding.seed)
        )
        results: list[list[Hypothesis]] = [[] for _ in sentences]
        for batch in evaluation_batches(sentences, self.vocabularies.source, self.batch_size):
            found = self._found(batch, setting, decoding)
            for row, index in enumerate(batch.index):
                if index >= 0:
                    one, gaps = jax.tree.map(lambda leaf, row=row: leaf[row], found)
                    results[index] = self._hypotheses(one, gaps, int(batch.source_length[row]))
            progress(int((batch.index >= 0).sum()))
        return results

    def _found(
        self, batch: SourceBatch, setting: strategies.Setting, decoding: Decoding
    ) -> tuple[rx.BeamResult, np.ndarray]:
        """What was found for a batch, and its gaps [B, N], on the host."""
        static = {
            "plan": decoding.plan,
            "max_length": decoding.longest(batch.source.shape[1]),
        }
        rows = (batch.source, batch.source_length)
        found = self._run(setting, *shard((*rows, np.maximum(batch.index, 0)), self.mesh), **static)
        if decoding.search == "exact":

            def settle(*sentences):
                return self._settle(setting, *shard(sentences, self.mesh), **static)

            found = rx.escalate(settle, found, *rows, lanes=self.mesh.size)
        if decoding.covered:
            found = self._cover(found, batch.source_length, decoding.strengths)
        return jax.device_get((found, found.gap))

    def _hypotheses(
        self, found: rx.BeamResult, gaps: np.ndarray, source_length: int
    ) -> list[Hypothesis]:
        hypotheses: list[Hypothesis] = []
        for k, stop in enumerate(map(rx.StopReason, found.stops)):
            if stop == rx.StopReason.EMPTY or len(hypotheses) == self.n_best:
                break
            length = int(found.lengths[k])
            pieces = [int(piece) for piece in found.tokens[k, :length] if piece != EOS]
            if self.decoding.search == "diverse" and pieces in [h.pieces for h in hypotheses]:
                continue  # another group found it, too
            hypotheses.append(
                Hypothesis(
                    self.vocabularies.target.decode(pieces),
                    float(found.scores[k]),
                    float(found.log_probs[k]),
                    pieces,
                    found.attention[k, :length, :source_length],
                    stop,
                    float(gaps[k]),
                )
            )
        return hypotheses


def _phrases(phrases: Sequence[str], tokenizer: Tokenizer) -> rx.decode.Automaton | None:
    """What contains all of them, as the tokenizer writes them."""
    wanted = [tokenizer.encode(phrase) for phrase in phrases]
    for phrase, pieces in zip(phrases, wanted, strict=True):
        if UNK in pieces:
            raise UserError(
                f"the required phrase {phrase!r} has a character that no training sentence had."
            )
    return rx.decode.containing(wanted) if wanted else None


def _characters(tokenizer: Tokenizer) -> np.ndarray:
    labels = tokenizer.labels(range(tokenizer.size))
    for piece in (PAD, UNK, BOS, EOS):
        labels[piece] = ""
    return rx.decode.character_table(labels)
