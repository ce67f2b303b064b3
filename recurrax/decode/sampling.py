"""Ancestral sampling: each token drawn from the model's own distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.core import split_key
from recurrax.decode import checks
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import problem
from recurrax.decode.records import BeamResult, StopReason


def sample(
    step: checks.Step,
    state: Any,
    *,
    key: jax.Array,
    bos: int | jax.Array,
    eos: int | jax.Array,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
) -> BeamResult:
    """One sequence, drawn token by token, for one example. Consumes `key`.

    Several are a `jax.vmap` over keys. A temperature, nucleus sampling and the like are changes of
    the step: see `rx.processed`. The result has one row (N = 1), in which nothing is claimed to be
    best: the bound is +inf. Each draw depends on the key and on the time alone, so that the
    sequence is the same whatever stands beside it.

    Args, raises: see `rx.beam_search`. Before `min_length` the end token is not drawn; the
      log-probabilities stay those of the model.
    """
    given = problem(
        "sample",
        step,
        state,
        bos=bos,
        eos=eos,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
    )
    size, dtype = given.size, given.dtype
    split_key("sample", key)  # an error where it is no key; every draw folds its time into it

    def running(carry) -> jax.Array:
        t, _, stop, *_ = carry
        return (t < given.limit) & (stop == StopReason.CUT)

    def advance(carry):
        t, state, _, token, records, invalid = carry
        state, output = step(state, token)
        logits, attention = checks.split_output(output)
        logits = logits.astype(dtype)
        normalizer = checks.log_normalizer(logits, logits.max())
        barred = (jnp.arange(given.vocabulary) == given.eos) & (t + 1 < given.min_length)
        choices = jnp.where(barred, -jnp.inf, logits)
        token = jax.random.categorical(jax.random.fold_in(key, t), choices).astype(jnp.int32)
        broken = jnp.isnan(normalizer) | (normalizer == jnp.inf)
        dead = broken | (choices[token] == -jnp.inf)
        stop = jnp.where(token == given.eos, StopReason.EOS, StopReason.CUT)
        stop = jnp.where(dead, StopReason.EMPTY, stop).astype(jnp.int32)
        entry = (token, choices[token] - normalizer, attention)
        records = jax.tree.map(lambda all, one: all.at[t].set(one), records, entry)
        return t + 1, state, stop, token, records, invalid | broken

    def record(leaf):
        return jnp.zeros((size, *leaf.shape), leaf.dtype)

    seen = jax.tree.map(record, given.attention)
    start = (
        jnp.zeros((), jnp.int32),
        given.state,
        jnp.int32(StopReason.CUT),
        given.bos,
        (jnp.zeros(size, jnp.int32), jnp.zeros(size, dtype), seen),
        jnp.bool(False),
    )
    steps, _, stop, _, (tokens, log_probs, attention), invalid = lax.while_loop(
        running, advance, start
    )
    stop = jnp.where(steps > 0, stop, StopReason.EMPTY).astype(jnp.int32)
    filled = stop != StopReason.EMPTY
    length = jnp.where(filled, steps, 0)
    valid = jnp.arange(size) < length

    def masked(leaf):
        keep = valid.reshape(valid.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(keep, leaf, jnp.zeros_like(leaf))[None]

    token_log_probs = masked(log_probs)
    total = jnp.where(filled, token_log_probs.sum(-1), -jnp.inf)
    return BeamResult(
        tokens=jnp.where(valid, tokens, given.eos)[None],
        lengths=length[None],
        scores=given.score(total, jnp.maximum(length, 1)),
        log_probs=total,
        token_log_probs=token_log_probs,
        attention=jax.tree.map(masked, attention),
        stops=stop[None],
        proven=jnp.zeros(1, bool),
        bound=jnp.full((), jnp.inf, dtype),
        steps=steps,
        invalid=invalid,
    )
