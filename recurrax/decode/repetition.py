"""Processors that look back: what is there already becomes less likely, or is forbidden.

The start token is not counted. `vocabulary` is V.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.processors import Processor, check_vocabulary, integers


def repetition_penalty(penalty: float | jax.Array, vocabulary: int) -> Processor:
    """Multiplies the log-probability of each token that is there already: above 1, less likely.

    After Keskar et al. 2019, who divide raw scores, so that it depends on where their zero is.
    """
    checks.number("repetition_penalty", "penalty", penalty, above=0)
    return _counting(
        "repetition_penalty",
        vocabulary,
        lambda counts, logits: jnp.where(counts > 0, logits * penalty, logits),
    )


def frequency_penalty(penalty: float | jax.Array, vocabulary: int) -> Processor:
    """Subtracts `penalty` from a log-probability for each time that the token is there already."""
    checks.number("frequency_penalty", "penalty", penalty)
    return _counting(
        "frequency_penalty",
        vocabulary,
        lambda counts, logits: logits - penalty * counts.astype(logits.dtype),
    )


def presence_penalty(penalty: float | jax.Array, vocabulary: int) -> Processor:
    """Subtracts `penalty` from the log-probability of each token that is there already, once."""
    checks.number("presence_penalty", "penalty", penalty)
    return _counting(
        "presence_penalty",
        vocabulary,
        lambda counts, logits: jnp.where(counts > 0, logits - penalty, logits),
    )


def no_repeat_ngrams(
    size: int, max_length: int, exclude: jax.typing.ArrayLike | Sequence[int] = ()
) -> Processor:
    """Forbids the token that would complete a run of `size` tokens for the second time.

    Paulus et al. 2018 block trigrams. Runs may overlap.

    Args:
      size: of the runs; static. 1 lets every token stand once only.
      max_length: that of the search, or more; it sizes the memory of what was read. A longer search
        gets NaN, which it reports as it does that of any model.
      exclude: tokens [n]; a run that has one of them may be repeated (punctuation, separators).
        Traced; -1 is none, so that one compiled search takes lists of any length up to n.
    """
    name = "no_repeat_ngrams"
    size, max_length = (
        checks.positive(name, "size", size),
        checks.positive(name, "max_length", max_length),
    )
    excluded = integers(name, "exclude", exclude)
    starts = jnp.arange(max(max_length - size + 1, 0))

    def apply(state, token, logits):
        t, history = state
        history = jnp.where(t > 0, history.at[t - 1].set(token), history)
        runs = history[starts[:, None] + jnp.arange(size)]
        newest = history[t - size + 1 + jnp.arange(size - 1)]
        # Where fewer than `size` tokens are there, no run is over yet, and `newest` is not used.
        again = (starts + size <= t) & (runs[:, :-1] == newest).all(1)
        again &= ~(runs[:, :, None] == excluded).any((1, 2))
        place = jnp.where(again, runs[:, -1], logits.shape[0])
        logits = jnp.where(t > max_length, jnp.nan, logits)
        return (t + 1, history), logits.at[place].set(-jnp.inf, mode="drop")

    return Processor((jnp.zeros((), jnp.int32), jnp.zeros(max_length, jnp.int32)), apply)


def _counting(
    function: str, vocabulary: int, change: Callable[[jax.Array, jax.Array], jax.Array]
) -> Processor:
    """With the number of times that each token was read, the start token left out."""
    vocabulary = checks.positive(function, "vocabulary", vocabulary)

    def apply(state, token, logits):
        check_vocabulary(function, vocabulary, logits)
        started, counts = state
        counts = counts + ((jnp.arange(vocabulary) == token) & started)
        return (jnp.ones_like(started), counts), change(counts, logits)

    return Processor((jnp.zeros((), bool), jnp.zeros(vocabulary, jnp.int32)), apply)
