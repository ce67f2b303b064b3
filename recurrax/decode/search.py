"""The search: one compiled loop, any state, any step.

`K` hypotheses are live. A step extends them by every token; of these candidates, ordered by their
log-probability,

- those among the first K that end with the end token are finished: they leave the beam for a list
  of their own, where only the best N stay;
- the first K that do not end are the next live ones, so that what finishes never takes a place.

The search ends where no live hypothesis can still enter the list of the finished, whatever its
remaining tokens cost (they cost at least nothing), or at the length limit.

Nothing is moved but the state: a step stores, for each live hypothesis, its token and its parent,
and the winners follow the parents back once, at the end.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.backtrace import Finished, History, Search, hypotheses
from recurrax.decode.largest import largest
from recurrax.decode.penalties import LengthPenalty, as_penalty, best_possible
from recurrax.decode.records import BeamResult


def search(
    function: str,
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    beam_size: int,
    max_length: int,
    length_limit: int | jax.Array | None,
    min_length: int | jax.Array,
    length_penalty: float | jax.Array | LengthPenalty,
    n_best: int | None = None,
    patience: float | jax.Array = math.inf,
) -> BeamResult:
    """`rx.beam_search`, whose errors name `function`."""
    width = checks.positive(function, "beam_size", beam_size)
    size = checks.positive(function, "max_length", max_length)
    rows = width if n_best is None else checks.positive(function, "n_best", n_best)
    if rows > width:
        raise ValueError(f"{function}: n_best must be at most beam_size={width}, got {rows}")
    limit = checks.scalar(
        function, "length_limit", size if length_limit is None else length_limit, low=0, high=size
    )
    limit = jnp.clip(limit, 0, size)
    min_length = checks.scalar(function, "min_length", min_length, low=0, high=size)
    penalty = as_penalty(function, length_penalty)
    checks.number(function, "patience", patience, above=0)
    state, dtype, vocabulary, attention = checks.checked_step(function, step, state)
    bos = checks.scalar(function, "bos", bos, low=0, high=vocabulary - 1)
    eos = checks.scalar(function, "eos", eos, low=0, high=vocabulary - 1)

    def unsettled(search: Search) -> jax.Array:
        best = best_possible(
            penalty, search.log_probs[0], jnp.maximum(search.t + 1, min_length), limit
        )
        worst = search.finished.scores[-1]
        settled = (worst > -jnp.inf) & (worst >= best)
        patient = search.ended < patience * width
        return (search.t < limit) & (search.log_probs[0] > -jnp.inf) & ~settled & patient

    def advance(search: Search) -> Search:
        new_state, output = jax.vmap(step)(search.state, search.tokens)
        logits, attention = checks.split_output(output)
        length = search.t + 1
        pool = _expand(search.log_probs, logits.astype(dtype), eos, length >= min_length)

        # The first K of all candidates: those that end are finished.
        totals, chosen = lax.top_k(pool.totals, width)
        ends = pool.ends[chosen] & (totals > -jnp.inf)
        parents = pool.parents[chosen]
        ending = jnp.where(ends, totals, -jnp.inf)
        candidates = Finished(
            scores=jnp.where(ends, penalty(totals, length), -jnp.inf),
            log_probs=ending,
            lengths=jnp.full(width, length),
            slots=parents,
            last=pool.log_probs[chosen],
        )
        finished, displaced = _merge(search.finished, candidates)

        # The first K of those that go on, and the next one, which bounds all the others.
        going = jnp.where(pool.ends, -jnp.inf, pool.totals)
        totals, chosen = lax.top_k(going, min(width + 1, going.shape[0]))
        pruned = totals[width:].max(initial=-jnp.inf)
        totals, chosen = totals[:width], chosen[:width]
        if width == 1:  # nothing is left of a beam of one that has ended
            pruned = jnp.where(ends[0], jnp.maximum(pruned, totals[0]), pruned)
            totals = jnp.where(ends, -jnp.inf, totals)

        taken = (parents[:, None] == jnp.arange(width)) & ends[:, None]
        refused = jnp.where(taken.any(0), -jnp.inf, pool.end_totals).max()
        bounds = jnp.stack(
            [
                search.bound,
                displaced,
                jnp.where(refused > -jnp.inf, penalty(refused, length), -jnp.inf),
                best_possible(penalty, pruned, jnp.maximum(length + 1, min_length), limit),
            ]
        )
        parents = pool.parents[chosen]
        entry = History(pool.tokens[chosen], parents, pool.log_probs[chosen], attention)
        return Search(
            t=length,
            state=jax.tree.map(lambda leaf: leaf[parents], new_state),
            tokens=entry.tokens,
            log_probs=totals,
            finished=finished,
            history=jax.tree.map(lambda all, one: all.at[search.t].set(one), search.history, entry),
            bound=bounds.max(),
            ended=search.ended + ends.sum(dtype=jnp.int32),
            invalid=search.invalid | pool.invalid,
        )

    search = lax.while_loop(
        unsettled, advance, _start(state, bos, dtype, rows, width, size, attention)
    )
    return hypotheses(search, penalty, eos, min_length, limit)


class _Pool(NamedTuple):
    """The candidates that can matter, flat: the best few tokens of each live hypothesis in turn."""

    totals: jax.Array
    tokens: jax.Array
    parents: jax.Array
    log_probs: jax.Array  # of the token alone
    ends: jax.Array
    end_totals: jax.Array  # [K] of the end token after each hypothesis
    invalid: jax.Array


def _expand(log_probs: jax.Array, logits: jax.Array, eos: jax.Array, may_end: jax.Array) -> _Pool:
    """`log_probs` [K], `logits` [K, V].

    K + 2 tokens of a hypothesis are enough: K can live on and one can end, so the least of them is
    not kept, and nothing outside the pool is better than it.
    """
    width, vocabulary = logits.shape
    count = min(width + 2, vocabulary)
    values, tokens, top = largest(logits, count)
    normalizer = checks.log_normalizer(logits, top)
    broken = jnp.isnan(normalizer) | (normalizer == jnp.inf)
    dead = (log_probs == -jnp.inf) | ~jnp.isfinite(normalizer)
    token_log_probs = values - normalizer[:, None]
    end_log_probs = logits[:, eos] - normalizer
    ends = tokens == eos
    allowed = ~dead[:, None] & (may_end | ~ends)
    return _Pool(
        totals=jnp.where(allowed, log_probs[:, None] + token_log_probs, -jnp.inf).ravel(),
        tokens=tokens.ravel(),
        parents=jnp.repeat(jnp.arange(width, dtype=jnp.int32), count),
        log_probs=token_log_probs.ravel(),
        ends=ends.ravel(),
        end_totals=jnp.where(may_end & ~dead, log_probs + end_log_probs, -jnp.inf),
        invalid=(broken & (log_probs > -jnp.inf)).any(),
    )


def _merge(old: Finished, new: Finished) -> tuple[Finished, jax.Array]:
    """The best of both, and the best score that found no row. Equal scores: the old first."""
    rows = old.scores.shape[0]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old, new)
    scores, order = lax.top_k(both.scores, rows + 1)
    return jax.tree.map(lambda leaf: leaf[order[:rows]], both), scores[rows]


def _start(state, bos, dtype, rows, width, size, attention) -> Search:
    def repeat(leaf):
        return jnp.broadcast_to(leaf, (width, *leaf.shape))

    def record(leaf):
        return jnp.zeros((size, width, *leaf.shape), leaf.dtype)

    nothing = jnp.full(rows, -jnp.inf, dtype)
    none = jnp.zeros(rows, jnp.int32)
    ids = jnp.zeros((size, width), jnp.int32)
    return Search(
        t=jnp.zeros((), jnp.int32),
        state=jax.tree.map(repeat, state),
        tokens=repeat(bos),
        log_probs=jnp.where(jnp.arange(width) == 0, jnp.zeros((), dtype), -jnp.inf),
        finished=Finished(nothing, nothing, none, none, jnp.zeros(rows, dtype)),
        history=History(ids, ids, jnp.zeros((size, width), dtype), jax.tree.map(record, attention)),
        bound=jnp.full((), -jnp.inf, dtype),
        ended=jnp.zeros((), jnp.int32),
        invalid=jnp.zeros((), bool),
    )
