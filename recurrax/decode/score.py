"""Forced decoding: what the model gives to a sequence that is already there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.penalties import LengthPenalty, as_penalty
from recurrax.decode.processors import log_probs
from recurrax.decode.records import ScoreResult


def score(
    step: checks.Step,
    state: Any,
    tokens: jax.typing.ArrayLike,
    length: int | jax.Array | None = None,
    *,
    bos: int | jax.Array,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
) -> ScoreResult:
    """Scores `tokens` [T] as the decoders score what they find, for one example.

    `rx.score(step, state, result.tokens[n], result.lengths[n], ...)` gives row n's scores again.
    The end token, if there is one, is one of the tokens and counts in the length.

    Args:
      step, state, bos, length_penalty: see `rx.beam_search`.
      tokens: [T] integers, without the start token. What stands past the length is not looked at;
        a token outside the vocabulary gives NaN, one that the step forbids -inf.
      length: how many of them count; all if None. Traced. At length 0 the log-probability is zero.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "score"
    tokens = jnp.asarray(tokens)
    if tokens.ndim != 1:
        raise ValueError(
            f"{name}: tokens must have shape [T] for one sequence, got {tokens.shape}. "
            "Use jax.vmap for several"
        )
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{name}: tokens must be integers, got {tokens.dtype}")
    size = tokens.shape[0]
    count = checks.scalar(name, "length", size if length is None else length, low=0, high=size)
    penalty = as_penalty(name, length_penalty)
    state, _, vocabulary, _ = checks.checked_step(name, step, state)
    bos = checks.scalar(name, "bos", bos, low=0, high=vocabulary - 1)
    valid = jnp.arange(size) < count
    known = (tokens >= 0) & (tokens < vocabulary)
    targets = jnp.where(valid & known, tokens, 0).astype(jnp.int32)

    def body(carry, target):
        state, token = carry
        state, output = step(state, token)
        logits, attention = checks.split_output(output)
        return (state, target), (log_probs(logits)[target], attention)

    _, (token_log_probs, attention) = lax.scan(body, (state, bos), targets)
    token_log_probs = jnp.where(known, token_log_probs, jnp.nan)
    token_log_probs = jnp.where(valid, token_log_probs, jnp.zeros_like(token_log_probs))
    total = token_log_probs.sum()

    def attended(leaf):
        keep = valid.reshape(valid.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(keep, leaf, jnp.zeros_like(leaf))

    return ScoreResult(
        score=jnp.where(count > 0, penalty(total, jnp.maximum(count, 1)), total),
        log_prob=total,
        token_log_probs=token_log_probs,
        attention=jax.tree.map(attended, attention),
    )
