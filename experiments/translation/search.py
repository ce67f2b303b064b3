"""Translating sentences with a trained model: batches, compiled once a shape, back to text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import recurrax as rx
from experiments.common.devices import on_each_device, shard
from experiments.translation import strategies
from experiments.translation.batches import SourceBatch, evaluation_batches
from experiments.translation.constraints import constraints
from experiments.translation.decoding import Decoding
from experiments.translation.ensemble import Ensemble
from experiments.translation.hypotheses import Hypothesis, hypotheses, written
from experiments.translation.model import Translator
from experiments.translation.tokenizer import (
    UNK,
    Tokenizer,
    Vocabularies,
)


def batch_search(
    translator: Translator | Ensemble,
    mesh: Mesh,
    *,
    beam_size: int,
    rows: int,
    slots: int | None = None,
) -> Callable[..., rx.BeamResult]:
    """`strategies.find` for a batch whose rows are split over `mesh`, compiled once a shape.

    The function that it makes takes `(setting, source [B, S], length [B], index [B])` and, by
    name, `plan` and `max_length`. With `slots` so many sentences are searched at a time, and where
    one is done, the next of the batch takes its place.
    """

    @functools.partial(jax.jit, static_argnames=("plan", "max_length"))
    def run(setting, source, length, index, *, plan, max_length):
        sizes = {"beam_size": beam_size, "rows": rows, "max_length": max_length}

        def on_one_device(setting, sentences):
            if slots is not None:
                count = max(slots // mesh.size, 1)
                return strategies.find_in_turn(
                    translator, plan, setting, *sentences[:2], slots=count, **sizes
                )
            find = functools.partial(strategies.find, translator, plan, setting, **sizes)
            return jax.vmap(find)(*sentences)

        return on_each_device(on_one_device, mesh)(setting, (source, length, index))

    return run


WINDOW = 16
"""Batches: long enough to sort by length with little padding, short enough to wait for."""


class Search:
    """Translates with one model; keeps what it compiled, one program for each length bucket.

    Args:
      translator: a model, or several as an `Ensemble`.
      beam_size: the number of live hypotheses; 0 is greedy search.
      n_best: how many translations of each sentence.
      decoding: how to search.
      reverse: the model that `decoding` names: (sources [B], translations [B, N]) -> the
        log-probability of each source, given each of its translations, as `Reverse` has it.

    Raises:
      ValueError: `decoding` names a reverse model and none is given, or the other way round.
      UserError: `beam_size` or `n_best` is out of its range, words that the options name hold a
        character that the model does not know, or no translation satisfies them.
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
        reverse: Callable[..., np.ndarray] | None = None,
    ):
        if (reverse is None) != (decoding.reverse is None):
            raise ValueError(f"Search: decoding names {decoding.reverse}, and reverse is {reverse}")
        self.vocabularies = vocabularies
        self.mesh = mesh
        self.batch_size = batch_size
        self.n_best = n_best
        self.decoding = decoding
        rows = decoding.rows(beam_size, n_best)
        self._reverse = reverse
        self._constraints = constraints(decoding, vocabularies.target)
        self._characters = _characters(vocabularies.target)

        self._run = batch_search(
            translator,
            mesh,
            beam_size=beam_size,
            rows=rows,
            slots=batch_size if decoding.queue > 1 else None,
        )

        @functools.partial(jax.jit, static_argnames=("plan", "max_length"))
        def settle(setting, *sentences, plan, max_length):
            def on_one_device(setting, sentences):
                def one(sentence):
                    return strategies.settle(
                        translator, plan, setting, *sentence, rows=rows, max_length=max_length
                    )

                # Not `vmap`, whose loops copy at each step all that they carry.
                return jax.lax.map(one, sentences)

            return on_each_device(on_one_device, mesh)(setting, sentences)

        @functools.partial(jax.jit, static_argnames=("plan", "size"))
        def choose(setting, found, *, plan, size):
            return jax.vmap(functools.partial(strategies.choose, plan, setting, size=size))(found)

        self._settle, self._choose = settle, choose
        self._cover = jax.jit(jax.vmap(strategies.cover, (0, 0, None)))
        self._explain = jax.jit(jax.vmap(strategies.explain, (0, 0, None)))

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
          changes: for this call, the seed, the weight of the reverse model, and what a `Strengths`
            holds, such as `length_penalty=0.0`. It compiles nothing anew, but for a budget of
            best-first search and a number that changed nothing before.

        Raises:
          UserError: a number is out of its range. TypeError: something else is to be changed, or a
            coverage penalty where there was none.
        """
        return list(self.stream(params, sentences, window=None, progress=progress, **changes))

    def stream(
        self,
        params: Any,
        sentences: Sequence[str],
        *,
        window: int | None = WINDOW,
        progress: Callable[[int], object] = lambda count: None,
        **changes: float,
    ) -> Iterator[list[Hypothesis]]:
        """As a call, but the translations of a sentence come as soon as all before it are done.

        Sentences are sorted by length among `window` batches at a time; None: among all of them.
        """
        decoding = dataclasses.replace(self.decoding, **changes)  # type: ignore[arg-type]
        fixed = changes.keys() - {*strategies.Strengths._fields, "seed", "reverse_weight"}
        if fixed or decoding.covered != self.decoding.covered:
            raise TypeError(f"Search: {sorted(fixed) or 'coverage'} must be known when it is made")
        setting = strategies.Setting(
            params,
            decoding.strengths,
            self._constraints,
            self._characters,
            np.uint32(decoding.seed),
        )
        ready: dict[int, list[Hypothesis]] = {}
        size = self.batch_size * self.decoding.queue
        first = 0  # that is not out yet
        for batch in evaluation_batches(
            sentences, self.vocabularies.source, size, window=window and window * size
        ):
            found = self._found(batch, sentences, setting, decoding)
            for row, index in enumerate(map(int, batch.index)):
                if index >= 0:
                    one, gaps = jax.tree.map(lambda leaf, row=row: leaf[row], found)
                    length = int(batch.source_length[row])
                    ready[index] = hypotheses(
                        one,
                        gaps,
                        sentences[index],
                        length,
                        self.vocabularies,
                        self.decoding,
                        self.n_best,
                    )
            progress(int((batch.index >= 0).sum()))
            while first in ready:
                yield ready.pop(first)
                first += 1

    def _found(
        self,
        batch: SourceBatch,
        sentences: Sequence[str],
        setting: strategies.Setting,
        decoding: Decoding,
    ) -> tuple[rx.BeamResult, np.ndarray]:
        """What was found for a batch, and its gaps [B, N], on the host."""
        static = {
            "plan": decoding.plan,
            "max_length": decoding.longest(batch.source.shape[1], int(self._constraints.shortest)),
        }
        rows = (batch.source, batch.source_length)
        found = self._run(setting, *shard((*rows, np.maximum(batch.index, 0)), self.mesh), **static)
        if decoding.search in ("exact", "best-first"):

            def settle(*sentences):
                return self._settle(setting, *shard(sentences, self.mesh), **static)

            found = rx.escalate(settle, found, *rows, lanes=self.mesh.size)
        if decoding.search == "mbr":
            # In steps of a quarter, for each is a program.
            longest, room = int(found.lengths.max()), found.tokens.shape[-1]
            size = next(n for n in (room // 4, room // 2, 3 * room // 4, room) if n >= longest)
            found = self._choose(setting, found, plan=decoding.plan, size=size)
        if decoding.covered:
            found = self._cover(found, batch.source_length, decoding.strengths)
        if self._reverse is not None:
            scores = self._reverse(*self._texts(batch, sentences, found))
            found = self._explain(found, scores, decoding.reverse_weight)
        return jax.device_get((found, found.gap))

    def _texts(
        self, batch: SourceBatch, sentences: Sequence[str], found: rx.BeamResult
    ) -> tuple[list[str], list[list[str]]]:
        """The sources of a batch and the translations of each; empty where a row only fills it."""
        tokens, lengths = jax.device_get((found.tokens, found.lengths))
        translations = [
            [
                self.vocabularies.target.decode(tokens[:length].tolist())
                for tokens, length in zip(*row, strict=True)
            ]
            for row in zip(tokens, lengths, strict=True)
        ]
        sources = [sentences[i] if i >= 0 else "" for i in map(int, batch.index)]
        return sources, translations


def _characters(tokenizer: Tokenizer) -> np.ndarray:
    labels = written(tokenizer, range(tokenizer.size))
    labels[UNK] = ""
    return rx.decode.character_table(labels)
