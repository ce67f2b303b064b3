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

Other searches are other expansions: a `Pool` may order its candidates by something else than their
log-probability, and may carry along what the next expansion needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.backtrace import Finished, History, Search, hypotheses
from recurrax.decode.largest import largest
from recurrax.decode.problem import Problem
from recurrax.decode.records import Loop


class Pool(NamedTuple):
    """The candidates that can matter, flat: the best few tokens of each live hypothesis in turn."""

    totals: jax.Array
    tokens: jax.Array
    parents: jax.Array
    log_probs: jax.Array  # of the token alone
    ends: jax.Array
    end_totals: jax.Array  # [K] of the end token after each hypothesis
    invalid: jax.Array
    order: jax.Array | None = None  # what the candidates are taken by, if not by their totals
    carried: Any = None  # leaves [pool]: what the live ones keep of their candidate


Scored = TypeVar("Scored", bound=Any)
"""A record with `scores` [N], and leaves [N, ...] that go with them."""

Expand = Callable[[Search, Any, jax.Array, jax.Array], Pool]
"""`(search, states after the step, logits [K, V], whether a hypothesis may end) -> pool`."""


def loop(
    problem: Problem,
    width: int,
    rows: int,
    *,
    patience: float | jax.Array = math.inf,
    expand: Expand | None = None,
    root: float | jax.Array = 0.0,
    carried: Any = None,
    cut_compete: bool = False,
) -> Loop:
    """The search over `problem` in its four parts.

    `root` is the total of the empty hypothesis, `carried` what it carries. Where `cut_compete`,
    hypotheses that the limit cut are ranked among the finished, not after them.
    """

    def plain(search: Search, states: Any, logits: jax.Array, may_end: jax.Array) -> Pool:
        return likeliest(search.log_probs, logits, problem.eos, may_end, width + 2)

    expanded = plain if expand is None else expand

    def unsettled(search: Search) -> jax.Array:
        best = problem.best(search.log_probs.max(), search.t)
        worst = search.finished.scores[-1]
        settled = (worst > -jnp.inf) & (worst >= best)
        patient = search.ended < patience * width
        return (search.t < problem.limit) & (search.log_probs > -jnp.inf).any() & ~settled & patient

    def advance(search: Search) -> Search:
        new_state, output = jax.vmap(problem.step)(search.state, search.tokens)
        logits, attention = checks.split_output(output)
        length = search.t + 1
        pool = expanded(
            search, new_state, logits.astype(problem.dtype), length >= problem.min_length
        )

        # The first K of all candidates: those that end are finished.
        totals, chosen = _first(pool, pool.totals, width)
        ends = pool.ends[chosen] & (totals > -jnp.inf)
        parents = pool.parents[chosen]
        ending = jnp.where(ends, totals, -jnp.inf)
        candidates = Finished(
            scores=problem.score(ending, length),
            log_probs=ending,
            lengths=jnp.full(width, length),
            slots=parents,
            last=pool.log_probs[chosen],
        )
        finished, displaced = merged(search.finished, candidates)

        # The first K of those that go on, and the next one, which bounds all the others.
        going = jnp.where(pool.ends, -jnp.inf, pool.totals)
        totals, chosen = _first(pool, going, min(width + 1, going.shape[0]))
        if pool.order is None:
            pruned = totals[width:].max(initial=-jnp.inf)
        else:  # where few may live, places are chosen that are not taken
            left = jnp.where(totals[:width] > -jnp.inf, -jnp.inf, going[chosen[:width]])
            pruned = going.at[chosen[:width]].set(left).max()
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
                problem.score(refused, length),
                problem.best(pruned, length),
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
            carried=jax.tree.map(lambda leaf: leaf[chosen], pool.carried),
        )

    return Loop(
        start=_start(problem, rows, width, root, carried),
        running=unsettled,
        advance=advance,
        finish=lambda search: hypotheses(search, problem, cut_compete),
    )


def run(loop: Loop) -> Any:
    """The loop's carry after its last step."""
    return lax.while_loop(loop.running, loop.advance, loop.start)


def likeliest(
    log_probs: jax.Array, logits: jax.Array, eos: jax.Array, may_end: jax.Array, count: int
) -> Pool:
    """The `count` likeliest tokens of each hypothesis; `log_probs` [K], `logits` [K, V].

    K + 2 tokens of a hypothesis are enough: K can live on and one can end, so the least of them is
    not kept, and nothing outside the pool is better than it.
    """
    width, vocabulary = logits.shape
    values, tokens, top = largest(logits, min(count, vocabulary))
    normalizer, dead, invalid = normalized(log_probs, logits, top)
    token_log_probs = values - normalizer[:, None]
    ends = tokens == eos
    allowed = ~dead[:, None] & (may_end | ~ends)
    end_totals = log_probs + (logits[:, eos] - normalizer)
    return Pool(
        totals=jnp.where(allowed, log_probs[:, None] + token_log_probs, -jnp.inf).ravel(),
        tokens=tokens.ravel(),
        parents=jnp.repeat(jnp.arange(width, dtype=jnp.int32), tokens.shape[1]),
        log_probs=token_log_probs.ravel(),
        ends=ends.ravel(),
        end_totals=jnp.where(may_end & ~dead, end_totals, -jnp.inf),
        invalid=invalid,
    )


def normalized(
    log_probs: jax.Array, logits: jax.Array, top: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(normalizer [K], which hypotheses cannot go on [K], whether a live one met NaN or +inf)`."""
    normalizer = checks.log_normalizer(logits, top)
    broken = jnp.isnan(normalizer) | (normalizer == jnp.inf)
    dead = (log_probs == -jnp.inf) | ~jnp.isfinite(normalizer)
    return normalizer, dead, (broken & (log_probs > -jnp.inf)).any()


def _first(pool: Pool, totals: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The totals and the places of the first `count` candidates; -inf where there are fewer."""
    if pool.order is None:
        return lax.top_k(totals, count)
    order, chosen = lax.top_k(jnp.where(totals > -jnp.inf, pool.order, -jnp.inf), count)
    return jnp.where(order > -jnp.inf, totals[chosen], -jnp.inf), chosen


def merged(old: Scored, new: Scored) -> tuple[Scored, jax.Array]:
    """The best of both, as many as `old` has, and the best score that found no row.

    Equal scores: the old first.
    """
    rows = old.scores.shape[0]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old, new)
    scores, order = lax.top_k(both.scores, rows + 1)
    return jax.tree.map(lambda leaf: leaf[order[:rows]], both), scores[rows]


def _start(problem: Problem, rows: int, width: int, root: float | jax.Array, carried: Any):
    size, dtype = problem.size, problem.dtype

    def repeat(leaf):
        return jnp.broadcast_to(leaf, (width, *leaf.shape))

    def record(leaf):
        return jnp.zeros((size, width, *leaf.shape), leaf.dtype)

    nothing = jnp.full(rows, -jnp.inf, dtype)
    none = jnp.zeros(rows, jnp.int32)
    ids = jnp.zeros((size, width), jnp.int32)
    seen = jax.tree.map(record, problem.attention)
    return Search(
        t=jnp.zeros((), jnp.int32),
        state=jax.tree.map(repeat, problem.state),
        tokens=repeat(problem.bos),
        log_probs=jnp.where(jnp.arange(width) == 0, jnp.asarray(root, dtype), -jnp.inf),
        finished=Finished(nothing, nothing, none, none, jnp.zeros(rows, dtype)),
        history=History(ids, ids, jnp.zeros((size, width), dtype), seen),
        bound=jnp.full((), -jnp.inf, dtype),
        ended=jnp.zeros((), jnp.int32),
        invalid=jnp.zeros((), bool),
        carried=jax.tree.map(repeat, carried),
    )
