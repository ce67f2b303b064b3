"""Best-first search: exact where its memory suffices, and at any time the smallest gap known."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.certificate import checked_incumbent, joined, known_scores, replayed
from recurrax.decode.largest import largest
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import Problem, problem
from recurrax.decode.reading import Found, nothing_found, read
from recurrax.decode.records import BeamResult, Loop
from recurrax.decode.search import merged, run


def best_first_search(
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    max_length: int,
    budget: int,
    frontier: int = 1024,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
    n_best: int = 1,
    incumbent: BeamResult | None = None,
    width: int = 1,
) -> BeamResult:
    """The best finished sequences, read in the order of what they promise, for one example.

    Of all prefixes that are open, a step reads the `width` with the highest bounds (A* with the
    bound of `rx.exact_search`). With width 1 and a frontier that never overflows it proves its
    first row after the fewest prefixes, up to equal bounds. Where the budget ends it, what is open
    has low bounds, and the gap is small; a depth-first search still owes whole branches near the
    root.

    The price is memory: the states of all prefixes that were read are kept, `budget` of them, and
    `frontier` open prefixes. What finds no place there is given up, and its bound stays in the
    result's: a search that overflowed proves nothing that it cannot.

    Args:
      step, state, bos, eos, max_length, length_limit, min_length, length_penalty: see
        `rx.beam_search`.
      budget: the most prefixes to read; a size.
      frontier: the most prefixes to keep open; a size.
      n_best, incumbent: see `rx.exact_search`.
      width: how many prefixes a step reads together.

    Returns:
      A `BeamResult` as `rx.exact_search` returns it. Equal bounds: what was open first.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "best_first_search"
    given = problem(
        name,
        step,
        state,
        bos=bos,
        eos=eos,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
    )
    rows = checks.positive(name, "n_best", n_best)
    width = checks.positive(name, "width", width)
    budget = checks.positive(name, "budget", budget)
    frontier = checks.positive(name, "frontier", frontier)
    if frontier < width:
        raise ValueError(f"{name}: frontier must be at least width={width}, got {frontier}")
    incumbent = checked_incumbent(name, given, incumbent)
    loop = _loop(given, rows, width, budget, frontier, incumbent)
    return loop.finish(run(loop))


class _Open(NamedTuple):
    """Leaves [F]: prefixes whose last token is not yet read, the highest bounds first."""

    scores: jax.Array  # the bounds
    totals: jax.Array
    lengths: jax.Array
    nodes: jax.Array  # where the state is that has read all but the last token
    tokens: jax.Array


class _Frontier(NamedTuple):
    open: _Open
    states: Any  # [M, ...]
    prefixes: jax.Array  # [M, T]
    found: Found
    bound: jax.Array  # on the score of whatever was dropped so far
    reads: jax.Array
    invalid: jax.Array


def _loop(
    problem: Problem,
    rows: int,
    width: int,
    budget: int,
    size: int,
    incumbent: BeamResult | None,
) -> Loop:
    floor, ceiling = known_scores(incumbent, rows)
    lane = jnp.arange(width, dtype=jnp.int32)
    count = min(problem.vocabulary, size)

    def threshold(search: _Frontier) -> jax.Array:
        return jnp.maximum(search.found.scores[-1], floor)

    def unsettled(search: _Frontier) -> jax.Array:
        worst, best = threshold(search), search.open.scores[0]
        return (best > worst) & (worst < ceiling) & (search.reads < budget)

    def advance(search: _Frontier) -> _Frontier:
        taken = jax.tree.map(lambda leaf: leaf[:width], search.open)
        fits = (taken.scores > threshold(search)) & (lane < budget - search.reads)
        states = jax.tree.map(lambda leaf: leaf[taken.nodes], search.states)
        totals = jnp.where(fits, taken.totals, -jnp.inf)
        prefixes = search.prefixes[taken.nodes]
        new = read(problem, states, prefixes, taken.tokens, totals, taken.lengths)
        found, displaced = merged(search.found, new.ended)

        # Node 0 is the beginning. What does not fit is written as well, and written over.
        places = 1 + search.reads + lane
        totals, tokens, _ = largest(new.extended, count)
        lengths = jnp.broadcast_to(taken.lengths[:, None] + 1, totals.shape)
        extended = _Open(
            scores=jax.vmap(jax.vmap(problem.best))(totals, lengths),
            totals=totals,
            lengths=lengths,
            nodes=jnp.broadcast_to(places[:, None], totals.shape),
            tokens=tokens,
        )
        # Of one prefix, what is not looked at is no better than the least that is.
        unseen = extended.scores[:, -1].max() if count < problem.vocabulary else -jnp.inf
        rest = jnp.where(fits, -jnp.inf, taken.scores)
        old = search.open._replace(scores=search.open.scores.at[:width].set(rest))
        new_open, overflow = merged(old, jax.tree.map(lambda leaf: leaf.ravel(), extended))
        return _Frontier(
            open=new_open,
            states=jax.tree.map(
                lambda all, one: all.at[places].set(one), search.states, new.states
            ),
            prefixes=search.prefixes.at[places].set(new.prefixes),
            found=found,
            bound=jnp.stack([search.bound, displaced, overflow, unseen]).max(),
            reads=search.reads + fits.sum(dtype=jnp.int32),
            invalid=search.invalid | new.invalid,
        )

    def finish(search: _Frontier) -> BeamResult:
        bound = jnp.maximum(search.bound, search.open.scores[0])
        bound = jnp.where(search.invalid, jnp.inf, bound)
        own = replayed(problem, search.found, bound, search.reads, search.invalid)
        return joined(incumbent, own)

    none = jnp.full(size, -jnp.inf, problem.dtype)
    ids = jnp.zeros(size, jnp.int32)
    first = problem.best(jnp.zeros((), problem.dtype), jnp.zeros((), jnp.int32))
    nodes = 1 + budget + width
    start = _Frontier(
        open=_Open(none.at[0].set(first), none.at[0].set(0), ids, ids, ids.at[0].set(problem.bos)),
        states=jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (nodes, *leaf.shape)), problem.state
        ),
        prefixes=jnp.zeros((nodes, problem.size), jnp.int32),
        found=nothing_found(problem, rows),
        bound=jnp.full((), -jnp.inf, problem.dtype),
        reads=jnp.zeros((), jnp.int32),
        invalid=jnp.zeros((), bool),
    )
    return Loop(start, unsettled, advance, finish)
