"""Changes of the distribution over the next token, to be put around any step.

A processor is a pair of pure functions, for one hypothesis: what it remembers is a part of the
hypothesis's state, and follows it through any search. What it returns are logits again, so that the
log-probabilities are those of the changed distribution, and searching, sampling and forced decoding
of the one processed step agree with each other::

    penalty = rx.decode.repetition_penalty(1.2, vocabulary)
    step, state = rx.processed(step, state, penalty, rx.decode.temperature(0.7))

Strengths are traced. The logits that a processor gets are normalised: they are log-probabilities.
Here are the plain changes of the logits; `truncation` drops unlikely tokens, `repetition` looks
back at what is there already, `automaton` lets only an automaton's sequences through.
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
    """The step and the state with `processors` applied to its logits, in order.

    A processor that forbids tokens gives their probability to the others, in proportion. Scores
    are therefore never below the model's own, `rx.score(step, ...)` of the plain step, where the
    processors do nothing but forbid: see `rx.reranked` for a ranking by the latter.

    NaN or +inf logits stay visible: they come out as NaN, whatever a processor does to them.

    Raises:
      TypeError: a processor is no `Processor`.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> step = lambda state, token: (state, jnp.log(jnp.array([0.2, 0.6, 0.2])))
    >>> step, state = rx.processed(step, 0, rx.decode.suppress([1]))
    >>> _, (logits, attention) = step(state, jnp.int32(0))
    >>> print(jnp.exp(rx.decode.log_probs(logits)).round(3))
    [0.5 0.  0.5]
    """
    for processor in processors:
        if not isinstance(processor, Processor):
            raise TypeError(
                f"processed: expected a Processor, as rx.decode.temperature(0.7) makes one, got "
                f"{processor!r}"
            )

    def changed(state, token):
        inner, memories = state
        inner, output = step(inner, token)
        logits, attention = checks.split_output(output, "processed")
        broken = jnp.zeros((), bool)
        new_memories = []
        for processor, memory in zip(processors, memories, strict=True):
            logits = log_probs(logits)
            broken |= jnp.isnan(logits).any()
            memory, logits = processor.apply(memory, token, logits)
            new_memories.append(memory)
        # A comparison with NaN forbids a token in silence; the search shall hear of it.
        logits = jnp.where(broken, jnp.nan, logits)
        return (inner, tuple(new_memories)), StepOutput(logits, attention)

    return changed, (state, tuple(processor.state for processor in processors))


def log_probs(logits: jax.Array) -> jax.Array:
    """log softmax of `logits` [V], at least in float32.

    Where every token is forbidden there is nothing to normalise: all stay -inf. After a NaN or
    +inf, some are NaN.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    normalizer = checks.log_normalizer(logits, logits.max())
    return logits - jnp.where(normalizer == -jnp.inf, 0, normalizer)


def temperature(value: float | jax.Array) -> Processor:
    """log p / value: below 1 sharper, above 1 flatter."""
    checks.number("temperature", "value", value, above=0)
    return without_memory(lambda logits: logits / value)


def bias(values: jax.typing.ArrayLike) -> Processor:
    """Adds `values` [V] to the logits; -inf suppresses a token."""
    values = jnp.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"bias: values must have shape [V], got {values.shape}")

    def change(logits):
        check_vocabulary("bias", values.shape[0], logits)
        return logits + values.astype(logits.dtype)

    return without_memory(change)


def bias_by_step(values: jax.typing.ArrayLike) -> Processor:
    """Adds `values[t]` [V], of `values` [P, V], to the logits of token t; nothing after P tokens.

    -inf suppresses a token at that place: for example the end token as the first one.
    """
    values = jnp.asarray(values)
    if values.ndim != 2 or values.shape[0] == 0:
        raise ValueError(
            f"bias_by_step: values must have shape [P, V] with P > 0, got {values.shape}"
        )

    def change(t, logits):
        check_vocabulary("bias_by_step", values.shape[1], logits)
        return logits + values.at[t].get(mode="fill", fill_value=0).astype(logits.dtype)

    return by_step(change)


def suppress(tokens: jax.typing.ArrayLike) -> Processor:
    """Forbids `tokens` [n], integers; those outside the vocabulary, as -1, are none."""
    tokens = integers("suppress", "tokens", tokens)

    def change(logits):
        place = jnp.where(tokens < 0, logits.shape[0], tokens)  # a negative index would wrap
        return logits.at[place].set(-jnp.inf, mode="drop")

    return without_memory(change)


def force_prefix(tokens: jax.typing.ArrayLike) -> Processor:
    """Begins every sequence with `tokens` [P], integers; where one is negative, any may stand.

    So one compiled search takes prefixes of every length up to P: fill up with -1. A forced token
    has probability 1 in the changed distribution: the scores are those of what follows, given the
    prefix.
    """
    tokens = jnp.append(integers("force_prefix", "tokens", tokens), -1)  # none may be forced

    def change(t, logits):
        wanted = tokens.at[t].get(mode="fill", fill_value=-1)
        allowed = (wanted < 0) | (jnp.arange(logits.shape[0]) == wanted)
        return jnp.where(allowed, logits, -jnp.inf)

    return by_step(change)


def relative_length(
    source_length: int | jax.Array, ratio: float | jax.Array, offset: int | jax.Array = 0
) -> jax.Array:
    """round(ratio * source_length) + offset, at least 0: a `min_length` or `length_limit`. Traced.

    In a batch, where it is traced, a search cuts a `length_limit` off at its own `max_length`; one
    whose value is known must not exceed it.
    """
    name = "relative_length"
    source_length = checks.scalar(name, "source_length", source_length, low=0)
    ratio = checks.number(name, "ratio", ratio)
    offset = checks.scalar(name, "offset", offset)
    return jnp.maximum(jnp.round(ratio * source_length).astype(jnp.int32) + offset, 0)


def without_memory(change: Callable[[jax.Array], jax.Array]) -> Processor:
    """The processor that makes `change(logits)` at every step."""
    return Processor((), lambda state, token, logits: (state, change(logits)))


def by_step(change: Callable[[jax.Array, jax.Array], jax.Array]) -> Processor:
    """The processor that makes `change(t, logits)` before token t, counted from 0."""
    return Processor(jnp.zeros((), jnp.int32), lambda t, token, logits: (t + 1, change(t, logits)))


def check_vocabulary(function: str, size: int, logits: jax.Array) -> None:
    """Raises where a processor was made for another vocabulary: one of 1 would fit in silence."""
    if logits.shape != (size,):
        raise ValueError(
            f"{function}: made for a vocabulary of {size}, but the step returns logits of shape "
            f"{logits.shape}"
        )


def integers(function: str, argument: str, values: Any) -> jax.Array:
    """A vector of integers, as int32; an empty list is one."""
    array = jnp.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{function}: {argument} must have shape [n], got {array.shape}")
    if array.size and not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{function}: {argument} must be integers, got {array.dtype}")
    return array.astype(jnp.int32)
