"""Several trained translators that search as one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax

import recurrax as rx
from experiments.translation.model import Translator


class Ensemble:
    """What a search needs of a translator, its `encode` and its `step`, for several of them.

    Its params are the tuple of theirs; the attention is the mean of theirs.

    Args:
      translators: at least one, over the same vocabularies; of any cells and sizes.
      mean: of probabilities ("linear") or of their logarithms ("log_linear"): see `rx.ensemble`.
    """

    def __init__(self, translators: Sequence[Translator], mean: str = "linear"):
        self.translators, self.mean = tuple(translators), mean
        self.pieces = translators[0].pieces

    def encode(self, params: Sequence[Any], source: jax.Array, length: Any) -> tuple[Any, Any]:
        """`(memories, states)`, a tuple with an entry for each translator."""
        encoded = [
            translator.encode(own, source, length)
            for translator, own in zip(self.translators, params, strict=True)
        ]
        return tuple(one.memory for one in encoded), tuple(one.state for one in encoded)

    def step(self, params: Sequence[Any], memory: Any, state: Any, piece: jax.Array):
        """One step of a search: `(state, rx.StepOutput(logits [V], attention [S]))`."""
        models = [
            (functools.partial(translator.step, *own), before)
            for translator, *own, before in zip(
                self.translators, params, memory, state, strict=True
            )
        ]
        step, _ = rx.ensemble(models, mean=self.mean)
        state, (logits, attentions) = step(state, piece)
        return state, rx.StepOutput(logits, sum(attentions) / len(attentions))
