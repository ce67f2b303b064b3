"""Changes of the distribution over the next token, to be put around any step.

A processor is a pair of pure functions, for one hypothesis: what it remembers is a part of the
hypothesis's state, and follows it through any search. What it returns are logits again, so that the
log-probabilities are those of the changed distribution, and searching, sampling and forced decoding
of the one processed step agree with each other::

    step, state = rx.processed(step, state, rx.repetition_penalty(1.2, V), rx.temperature(0.7))

Strengths are traced. The logits that a processor gets are normalised: they are log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.records import StepOutput


class Processor(NamedTuple):
    """`state` before the first step; `apply(state, token, logits [V]) -> (state, logits [V])`.

    `token` is the one that the step has just read: at first the start token.
    """

    state: Any
    apply: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]


def processed(step: checks.Step, state: Any, *processors: Processor) -> tuple[checks.Step, Any]:
    """The step and the state with `processors` applied to its logits, in order."""

    def changed(state, token):
        inner, memories = state
        inner, output = step(inner, token)
        logits, attention = checks.split_output(output)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        new_memories = []
        for processor, memory in zip(processors, memories, strict=True):
            normalizer = checks.log_normalizer(logits, logits.max())
            # Where every token is forbidden there is nothing to normalise, and no NaN to make.
            log_probs = logits - jnp.where(normalizer == -jnp.inf, 0, normalizer)
            memory, logits = processor.apply(memory, token, log_probs)
            new_memories.append(memory)
        return (inner, tuple(new_memories)), StepOutput(logits, attention)

    return changed, (state, tuple(processor.state for processor in processors))


def temperature(value: float | jax.Array) -> Processor:
    """log p / value: below 1 sharper, above 1 flatter."""
    checks.number("temperature", "value", value, above=0)
    return _without_memory(lambda logits: logits / value)


def keep_top_k(count: int | jax.Array) -> Processor:
    """Forbids all but the `count` likeliest tokens (Fan et al. 2018); ties at the edge are kept."""
    count = checks.scalar("keep_top_k", "count", count, low=1)

    def apply(logits):
        ordered = jnp.sort(logits, descending=True)
        edge = ordered[jnp.minimum(count, logits.shape[0]) - 1]
        return jnp.where(logits >= edge, logits, -jnp.inf)

    return _without_memory(apply)


def keep_top_p(mass: float | jax.Array) -> Processor:
    """Forbids all but the likeliest tokens that reach `mass` together (Holtzman et al. 2020)."""
    checks.number("keep_top_p", "mass", mass, above=0)

    def apply(logits):
        ordered = jnp.sort(logits, descending=True)
        # A token is kept where those before it have not reached the mass; the first one always.
        probabilities = jnp.exp(ordered)
        needed = jnp.cumsum(probabilities) - probabilities < mass
        edge = jnp.where(needed, ordered, jnp.inf).min()
        return jnp.where(logits >= edge, logits, -jnp.inf)

    return _without_memory(apply)


def keep_min_p(share: float | jax.Array) -> Processor:
    """Forbids what is less than `share` as likely as the likeliest token (Nguyen et al. 2024)."""
    checks.number("keep_min_p", "share", share, above=0)
    return _without_memory(
        lambda logits: jnp.where(logits >= logits.max() + jnp.log(share), logits, -jnp.inf)
    )


def bias(values: jax.typing.ArrayLike) -> Processor:
    """Adds `values` [V] to the logits; -inf suppresses a token."""
    values = jnp.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"bias: values must have shape [V], got {values.shape}")
    return _without_memory(lambda logits: logits + values.astype(logits.dtype))


def repetition_penalty(penalty: float | jax.Array, vocabulary: int) -> Processor:
    """Multiplies the log-probability of each token that is there already (Keskar et al. 2019).

    `vocabulary` is V. The start token is not counted.
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


def _without_memory(change: Callable[[jax.Array], jax.Array]) -> Processor:
    return Processor((), lambda state, token, logits: (state, change(logits)))


def _counting(function: str, vocabulary: int, change) -> Processor:
    """With the number of times that each token was read, the start token left out."""
    vocabulary = checks.positive(function, "vocabulary", vocabulary)

    def apply(state, token, logits):
        started, counts = state
        counts = counts + ((jnp.arange(vocabulary) == token) & started)
        return (jnp.ones_like(started), counts), change(counts, logits)

    return Processor((jnp.zeros((), bool), jnp.zeros(vocabulary, jnp.int32)), apply)
