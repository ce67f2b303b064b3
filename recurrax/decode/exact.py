"""Exact search: depth-first branch and bound, compiled, in a memory that its budget does not touch.

A level of the stack holds prefixes of one length, best first. A step takes the best `width` of the
deepest level that still has a prefix whose bound beats the N-th best score; it reads their last
tokens in one batch, enters what ends into the rows, and puts their extensions on the next level.

A level keeps only the first of its extensions. Should the search come back for more, it reads the
level's origins again and goes on after the last one that it had: nothing is ever given up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.certificate import checked_incumbent, joined, known_scores, replayed
from recurrax.decode.largest import largest
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import Problem, problem
from recurrax.decode.reading import Found, nothing_found, read
from recurrax.decode.records import BeamResult, Loop
from recurrax.decode.search import merged, run

_KEPT = 4  # extensions that a level keeps, for each prefix that a step reads


def exact_search(
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
    n_best: int = 1,
    budget: int | jax.Array = 10_000,
    incumbent: BeamResult | None = None,
    width: int = 8,
) -> BeamResult:
    """The best finished sequences that there are, for one example: depth-first branch and bound.

    A prefix is read only if some continuation could still enter the rows: its bound, the score at
    its own log-probability and at the better of its shortest and longest length, must beat the
    N-th best score so far. So a good first result saves most of the work::

        found = rx.beam_search(step, state, beam_size=5, n_best=1, **options)
        best = rx.exact_search(step, state, incumbent=found, **options)

    Where the rows of `found` are settled (`found.settled`), nothing is read. Inside a `jax.vmap`
    the loop runs for the whole batch until its last example is done: `rx.escalate` sends only the
    unsettled examples of a batch through it.

    Equal scores: the incumbent's rows first, then what was found first. The best that there is may
    be short, or empty: that is what the model prefers (Stahlberg & Byrne 2019, "On NMT search
    errors and model errors").

    Args:
      step, state, bos, eos, max_length, length_limit, min_length, length_penalty: see
        `rx.beam_search`. A penalty that is a function must keep what `recurrax.decode.penalties`
        asks of it, or nothing here is exact.
      n_best: N, the number of rows.
      budget: the most prefixes to read; traced. Reading again is not counted.
      incumbent: what a search over the same problem has found; its finished rows bound the search
        and compete for the rows, its bound counts too.
      width: how many prefixes a step reads together. 1 reads the fewest, more read them faster.

    Returns:
      A `BeamResult` whose rows are the best N, proven, where the budget was enough. Where it was
      not, `gap` says how much better a row could be. `steps` counts the prefixes that were read.
      Rows that no finished sequence takes are the incumbent's cut ones, or empty.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "exact_search"
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
    budget = checks.scalar(name, "budget", budget, low=0)
    incumbent = checked_incumbent(name, given, incumbent)
    loop = _loop(given, rows, width, budget, incumbent)
    return loop.finish(run(loop))


class _Levels(NamedTuple):
    """Leaves [T + 1, ...]: level l holds prefixes of l tokens, the last of them not yet read."""

    states: Any  # [B, ...] before that token is read
    prefixes: jax.Array  # [B, T] the tokens that those states have read
    rows: jax.Array  # [C + 1] of each prefix, best first: which state is its own
    tokens: jax.Array  # [C + 1] its last token
    totals: jax.Array  # [C + 1] its log-probability; the last is only a bound on what is not kept
    next: jax.Array  # [] the place of the first that was not taken
    origin_rows: jax.Array  # [B] what was read on the level before to make this one
    origin_tokens: jax.Array
    origin_totals: jax.Array


class _Stack(NamedTuple):
    levels: _Levels
    found: Found
    bound: jax.Array  # on the score of whatever was dropped so far
    reads: jax.Array
    invalid: jax.Array


def _loop(
    problem: Problem, rows: int, width: int, budget: jax.Array, incumbent: BeamResult | None
) -> Loop:
    size, vocabulary = problem.size, problem.vocabulary
    kept = _KEPT * width
    lane = jnp.arange(width, dtype=jnp.int32)
    floor, ceiling = known_scores(incumbent, rows)

    def threshold(stack: _Stack) -> jax.Array:
        return jnp.maximum(stack.found.scores[-1], floor)

    def open_bounds(levels: _Levels) -> jax.Array:
        """[T + 1] the best score that each level still promises."""
        lengths = jnp.arange(size + 1, dtype=jnp.int32)
        return jax.vmap(problem.best)(levels.totals[lengths, levels.next], lengths)

    def unsettled(stack: _Stack) -> jax.Array:
        worst = threshold(stack)
        promising = (open_bounds(stack.levels) > worst).any()
        return promising & (worst < ceiling) & (stack.reads < budget)

    def advance(stack: _Stack) -> _Stack:
        levels, worst = stack.levels, threshold(stack)
        promising = open_bounds(levels) > worst
        level = jnp.where(promising, jnp.arange(size + 1, dtype=jnp.int32), 0).max()
        first = levels.next[level]
        again = first == kept  # all that was kept is taken, and more is wanted
        base = jnp.where(again, level - 1, level)

        places = jnp.minimum(first + lane, kept)
        totals = levels.totals[level, places]
        fits = (places < kept) & (problem.best(totals, level) > worst)
        fits &= lane < budget - stack.reads
        taken = (levels.rows[level, places], levels.tokens[level, places])
        origins = (levels.origin_rows[level], levels.origin_tokens[level])
        source, tokens = jax.tree.map(lambda a, b: jnp.where(again, a, b), origins, taken)
        totals = jnp.where(again, levels.origin_totals[level], jnp.where(fits, totals, -jnp.inf))

        state = jax.tree.map(lambda leaf: leaf[base, source], levels.states)
        prefixes = levels.prefixes[base, source]
        new = read(problem, state, prefixes, tokens, totals, jnp.full(width, base))
        unseen = jnp.where(again, -jnp.inf, new.ended.scores)
        found, displaced = merged(stack.found, new.ended._replace(scores=unseen))

        # The extensions, in the order of their totals and, among equals, of their indices.
        length = base + 1
        index = lane[:, None] * vocabulary + jnp.arange(vocabulary)
        last = levels.rows[level, kept - 1] * vocabulary + levels.tokens[level, kept - 1]
        edge = levels.totals[level, kept - 1]
        had = (new.extended > edge) | ((new.extended == edge) & (index <= last))
        extended = jnp.where(again & had, -jnp.inf, new.extended)
        values, words, _ = largest(extended, min(kept + 1, vocabulary))
        short = max(0, kept + 1 - values.size)
        values = jnp.pad(values.ravel(), (0, short), constant_values=-jnp.inf)
        extended, chosen = lax.top_k(values, kept + 1)
        chosen = jnp.minimum(chosen, words.size - 1)

        levels = levels._replace(
            next=levels.next.at[level].add(jnp.where(again, 0, fits.sum(dtype=jnp.int32)))
        )
        overwritten = jnp.where(again, -jnp.inf, levels.totals[length, levels.next[length]])
        made = _Levels(
            states=new.states,
            prefixes=new.prefixes,
            rows=(chosen // words.shape[1]).astype(jnp.int32),
            tokens=words.ravel()[chosen],
            totals=extended,
            next=jnp.int32(0),
            origin_rows=source,
            origin_tokens=tokens,
            origin_totals=totals,
        )
        bounds = [stack.bound, displaced, problem.best(overwritten, length)]
        return _Stack(
            levels=jax.tree.map(lambda all, one: all.at[length].set(one), levels, made),
            found=found,
            bound=jnp.stack(bounds).max(),
            reads=stack.reads + jnp.where(again, 0, fits.sum(dtype=jnp.int32)),
            invalid=stack.invalid | new.invalid,
        )

    def finish(stack: _Stack) -> BeamResult:
        bound = jnp.maximum(stack.bound, open_bounds(stack.levels).max())
        bound = jnp.where(stack.invalid, jnp.inf, bound)
        own = replayed(problem, stack.found, bound, stack.reads, stack.invalid)
        return joined(incumbent, own)

    return Loop(_start(problem, rows, width, kept), unsettled, advance, finish)


def _start(problem: Problem, rows: int, width: int, kept: int) -> _Stack:
    """On level 0 the start token, with a log-probability of zero; all else is empty."""
    count, dtype = problem.size + 1, problem.dtype

    def repeat(leaf):
        return jnp.broadcast_to(leaf, (count, width, *leaf.shape))

    ids, origins = jnp.zeros((count, kept + 1), jnp.int32), jnp.zeros((count, width), jnp.int32)
    levels = _Levels(
        states=jax.tree.map(repeat, problem.state),
        prefixes=jnp.zeros((count, width, problem.size), jnp.int32),
        rows=ids,
        tokens=ids.at[0].set(problem.bos),
        totals=jnp.full((count, kept + 1), -jnp.inf, dtype).at[0, 0].set(0),
        next=jnp.zeros(count, jnp.int32),
        origin_rows=origins,
        origin_tokens=origins,
        origin_totals=jnp.full((count, width), -jnp.inf, dtype),
    )
    return _Stack(
        levels=levels,
        found=nothing_found(problem, rows),
        bound=jnp.full((), -jnp.inf, dtype),
        reads=jnp.zeros((), jnp.int32),
        invalid=jnp.zeros((), bool),
    )
