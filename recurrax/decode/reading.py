"""What the exact searches share: reading prefixes in a batch, and the rows that they find."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.problem import Problem
from recurrax.decode.search import normalized


class Found(NamedTuple):
    """The best N that ended, best first; -inf in empty rows."""

    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    tokens: jax.Array  # [N, T]


class Read(NamedTuple):
    """B prefixes whose last token was read."""

    states: Any
    prefixes: jax.Array  # [B, T] with that token
    ended: Found  # [B] each with the end token
    extended: jax.Array  # [B, V] log-probability with any other token
    invalid: jax.Array


def read(
    problem: Problem,
    states: Any,
    prefixes: jax.Array,
    tokens: jax.Array,
    totals: jax.Array,
    lengths: jax.Array,
) -> Read:
    """Reads the last `tokens` [B] of prefixes of `lengths` [B]; what has `totals` -inf is nothing.

    `prefixes` [B, T] are without that token. The prefix of length 0 is the start token, which takes
    no place.
    """
    row, eos = jnp.arange(tokens.shape[0]), problem.eos
    states, output = jax.vmap(problem.step)(states, tokens)
    logits = checks.split_output(output)[0].astype(problem.dtype)
    normalizer, dead, invalid = normalized(totals, logits, logits.max(-1))
    log_probs = logits - normalizer[:, None]
    places = jnp.where(lengths > 0, lengths - 1, problem.size)
    prefixes = prefixes.at[row, places].set(tokens, mode="drop")
    whole = lengths + 1
    may_end = ~dead & (whole >= problem.min_length) & (whole <= problem.limit)
    ending = jnp.where(may_end, totals + log_probs[:, eos], -jnp.inf)
    closed = dead[:, None] | (jnp.arange(problem.vocabulary) == eos)
    return Read(
        states=states,
        prefixes=prefixes,
        ended=Found(
            scores=jax.vmap(problem.score)(ending, whole),
            log_probs=ending,
            lengths=whole,
            tokens=prefixes.at[row, lengths].set(eos, mode="drop"),
        ),
        extended=jnp.where(closed, -jnp.inf, totals[:, None] + log_probs),
        invalid=invalid,
    )


def nothing_found(problem: Problem, rows: int) -> Found:
    """Rows that are all empty."""
    none = jnp.full(rows, -jnp.inf, problem.dtype)
    tokens = jnp.zeros((rows, problem.size), jnp.int32)
    return Found(none, none, jnp.zeros(rows, jnp.int32), tokens)
