"""What decoding takes and returns. `T` is `max_length`, `N` is `n_best`, `V` the vocabulary."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class StepOutput(NamedTuple):
    """What a step may return beside the state, instead of the bare logits.

    `logits` [V] need not be normalised. `attention` is any pytree of arrays, of the same shapes at
    every step; the result carries it for every token. A plain pair `(logits, attention)` will do.
    """

    logits: jax.Array
    attention: Any = None


class StopReason(enum.IntEnum):
    """Why a hypothesis is as long as it is."""

    EMPTY = 0
    """There is no hypothesis in this row: its score is -inf and its length 0."""
    EOS = 1
    """It ended with the end token."""
    CUT = 2
    """It reached the length limit without the end token."""


class BeamResult(NamedTuple):
    """Hypotheses of one example, best first. Finished ones come before those that were cut.

    `bound` is a number that no finished sequence outside the rows can exceed in score, whatever the
    model does with what the search pruned or left running; it is +inf after invalid logits. A row
    is `proven` where its score reaches the bound: then it and the rows before it are the best that
    there are (to the rounding of the scores), not only the best that were found.
    """

    tokens: jax.Array
    """[N, T] int32, with the end token, without the start token; filled up with the end token."""
    lengths: jax.Array
    """[N] int32, the number of tokens, the end token counted."""
    scores: jax.Array
    """[N] log-probability after the length penalty: what the rows are sorted by."""
    log_probs: jax.Array
    """[N] log-probability of the whole sequence."""
    token_log_probs: jax.Array
    """[N, T] log-probability of each token; zero past the length."""
    attention: Any
    """What the step gave while it chose each token, leaves [N, T, ...], zero past the length."""
    stops: jax.Array
    """[N] int32, a `StopReason` for each row."""
    proven: jax.Array
    """[N] bool, whether the row is certainly among the best."""
    bound: jax.Array
    """[] an upper bound on the score of every finished sequence that is not in the rows."""
    steps: jax.Array
    """[] int32, how many steps the search ran; of an exact search, how many prefixes it read."""
    invalid: jax.Array
    """[] bool: a live hypothesis met NaN or +inf logits, and was dropped."""

    @property
    def gap(self) -> jax.Array:
        """[N] by how much, at most, a sequence that is not in the rows exceeds this row's score.

        0 where the row is proven, +inf where it holds no finished sequence and one may exist.
        """
        scores = jnp.where(self.stops == StopReason.EOS, self.scores, -jnp.inf)
        bound = jnp.asarray(self.bound)[..., None]
        return jnp.where(scores >= bound, 0, bound - scores)

    @property
    def settled(self) -> jax.Array:
        """[] bool: no sequence that is not in the rows belongs there, also where rows are empty."""
        return self.gap[..., -1] == 0


class Loop(NamedTuple):
    """A search that the caller drives, for one example: a `lax.while_loop` in its four parts.

    `loop.finish(lax.while_loop(loop.running, loop.advance, loop.start))` is the whole search. Parts
    let a caller stop between steps, look at what is live, or put new examples in finished slots.
    """

    start: Any
    """The carry before the first step, a pytree."""
    running: Callable[[Any], jax.Array]
    """`carry -> bool`, whether another step is needed."""
    advance: Callable[[Any], Any]
    """`carry -> carry`, one step."""
    finish: Callable[[Any], BeamResult]
    """`carry -> result`, at any time: what is still live then counts in the bound."""


class ScoreResult(NamedTuple):
    """A given sequence under the model: the fields mean what they mean in `BeamResult`."""

    score: jax.Array
    """[] log-probability after the length penalty."""
    log_prob: jax.Array
    """[] log-probability of the whole sequence."""
    token_log_probs: jax.Array
    """[T] log-probability of each token; zero past the length."""
    attention: Any
    """What the step gave at each token, leaves [T, ...], zero past the length."""
