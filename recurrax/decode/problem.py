"""What every search is given: a model, its two special tokens, the lengths and the penalty."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.penalties import LengthPenalty, as_penalty, best_possible


class Problem(NamedTuple):
    """One example's search problem, its arguments checked and made arrays."""

    step: checks.Step
    state: Any
    bos: jax.Array
    eos: jax.Array
    size: int  # T
    limit: jax.Array
    min_length: jax.Array
    penalty: LengthPenalty
    dtype: Any  # of the scores
    vocabulary: int
    attention: Any  # its shapes

    def best(self, log_prob: jax.Array, length: jax.Array) -> jax.Array:
        """The highest score of any continuation of a prefix of `length` tokens."""
        shortest = jnp.maximum(length + 1, self.min_length)
        best = best_possible(self.penalty, log_prob, shortest, self.limit)
        return jnp.where(log_prob > -jnp.inf, best, -jnp.inf)

    def score(self, log_prob: jax.Array, length: jax.Array) -> jax.Array:
        """-inf where the log-probability is, which a penalty need not keep."""
        return jnp.where(log_prob > -jnp.inf, self.penalty(log_prob, length), -jnp.inf)


def problem(
    function: str,
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    max_length: int,
    length_limit: int | jax.Array | None,
    min_length: int | jax.Array,
    length_penalty: float | jax.Array | LengthPenalty,
) -> Problem:
    """Checks what all searches share; the errors name `function`."""
    size = checks.positive(function, "max_length", max_length)
    limit = checks.scalar(
        function, "length_limit", size if length_limit is None else length_limit, low=0, high=size
    )
    min_length = checks.scalar(function, "min_length", min_length, low=0, high=size)
    penalty = as_penalty(function, length_penalty)
    state, dtype, vocabulary, attention = checks.checked_step(function, step, state)
    return Problem(
        step=step,
        state=state,
        bos=checks.scalar(function, "bos", bos, low=0, high=vocabulary - 1),
        eos=checks.scalar(function, "eos", eos, low=0, high=vocabulary - 1),
        size=size,
        limit=jnp.clip(limit, 0, size),
        min_length=min_length,
        penalty=penalty,
        dtype=dtype,
        vocabulary=vocabulary,
        attention=attention,
    )
