"""Beam search: one compiled loop, any state, any step.

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
from recurrax.decode.largest import largest
from recurrax.decode.penalties import LengthPenalty, as_penalty, best_possible
from recurrax.decode.records import BeamResult, StopReason


class _Finished(NamedTuple):
    """The best N that ended, best first; -inf in empty rows."""

    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    slots: jax.Array  # where the hypothesis lived before the end token
    last: jax.Array  # log-probability of the end token


class _History(NamedTuple):
    """Leaves [T, K, ...]: what step t did in each slot."""

    tokens: jax.Array
    parents: jax.Array  # the slot before the step
    log_probs: jax.Array
    attention: Any  # by the slot before the step


class _Search(NamedTuple):
    t: jax.Array
    state: Any
    tokens: jax.Array  # [K] the newest token of each live hypothesis
    log_probs: jax.Array  # [K] best first; -inf in empty slots
    finished: _Finished
    history: _History
    bound: jax.Array  # on the score of whatever was dropped so far
    ended: jax.Array  # how many hypotheses finished
    invalid: jax.Array


def beam_search(
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    beam_size: int,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
    n_best: int | None = None,
    patience: float | jax.Array = math.inf,
) -> BeamResult:
    """The best sequences that a beam of `beam_size` hypotheses finds, for one example.

    A batch is a `jax.vmap` over `state` and over what the step closes over; the latter is shared by
    the hypotheses, not copied::

        def translate(memory, state):
            return rx.beam_search(partial(step, memory), state, bos=1, eos=2, beam_size=5, ...)

        results = jax.vmap(translate)(memories, states)

    Each example stops by itself, and its result is the same, bit for bit, whatever is beside it.

    Equal candidates: of one hypothesis, the lower token first; of several, the better one's (the
    lower slot's). Equal scores: the one that finished earlier, that is, the shorter.
    With a beam of 1 the search ends with the first end token that is the likeliest token: it is
    greedy search, for every penalty.

    Args:
      step: `(state, token) -> (state, logits)` or `(state, (logits, attention))`, of one
        hypothesis; `token` is an int32 scalar, `logits` [V] unnormalised. See `StepOutput`.
      state: any pytree of arrays, before the first step.
      bos: the token that the first step gets.
      eos: the token that ends a sequence. It counts in every length.
      beam_size: K, the number of live hypotheses.
      max_length: T, the size of the result and the most tokens of a sequence.
      length_limit: the most tokens of this example's sequences, if fewer than `max_length`; traced,
        so that it can differ within a batch. 0 searches nothing.
      min_length: the fewest tokens of a finished sequence; traced. Shorter ones cannot end; the
        probabilities are not renormalised.
      length_penalty: alpha of the GNMT penalty, score = log_prob / ((5 + length) / 6)^alpha, of
        either sign, traced; or a function as `rx.average` and `rx.word_reward` make.
      n_best: N, the number of rows of the result; all `beam_size` if None. Fewer end sooner and
        give the same rows.
      patience: ends the search already where `patience * beam_size` hypotheses have finished
        (Kasai et al. 2022; 1 is the usual rule of other toolkits). The default never gives up a
        better hypothesis for speed.

    Returns:
      A `BeamResult`. Hypotheses that the limit cut fill the rows that no finished one takes; rows
      beyond both are empty. Hypotheses whose logits are NaN or +inf are dropped, and the result
      says so; -inf forbids a token.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "beam_search"
    width = checks.positive(name, "beam_size", beam_size)
    size = checks.positive(name, "max_length", max_length)
    rows = width if n_best is None else checks.positive(name, "n_best", n_best)
    if rows > width:
        raise ValueError(f"{name}: n_best must be at most beam_size={width}, got {rows}")
    limit = checks.scalar(
        name, "length_limit", size if length_limit is None else length_limit, low=0, high=size
    )
    limit = jnp.clip(limit, 0, size)
    min_length = checks.scalar(name, "min_length", min_length, low=0, high=size)
    penalty = as_penalty(name, length_penalty)
    checks.number(name, "patience", patience)
    state, dtype, vocabulary, attention = checks.checked_step(name, step, state)
    bos = checks.scalar(name, "bos", bos, low=0, high=vocabulary - 1)
    eos = checks.scalar(name, "eos", eos, low=0, high=vocabulary - 1)

    def unsettled(search: _Search) -> jax.Array:
        best = best_possible(
            penalty, search.log_probs[0], jnp.maximum(search.t + 1, min_length), limit
        )
        worst = search.finished.scores[-1]
        settled = (worst > -jnp.inf) & (worst >= best)
        patient = search.ended < patience * width
        return (search.t < limit) & (search.log_probs[0] > -jnp.inf) & ~settled & patient

    def advance(search: _Search) -> _Search:
        new_state, output = jax.vmap(step)(search.state, search.tokens)
        logits, attention = checks.split_output(output)
        length = search.t + 1
        pool = _expand(search.log_probs, logits.astype(dtype), eos, length >= min_length)

        # The first K of all candidates: those that end are finished.
        totals, chosen = lax.top_k(pool.totals, width)
        ends = pool.ends[chosen] & (totals > -jnp.inf)
        parents = pool.parents[chosen]
        ending = jnp.where(ends, totals, -jnp.inf)
        candidates = _Finished(
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
        entry = _History(pool.tokens[chosen], parents, pool.log_probs[chosen], attention)
        return _Search(
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
    return _result(search, penalty, eos, min_length, limit)


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


def _merge(old: _Finished, new: _Finished) -> tuple[_Finished, jax.Array]:
    """The best of both, and the best score that found no row. Equal scores: the old first."""
    rows = old.scores.shape[0]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old, new)
    scores, order = lax.top_k(both.scores, rows + 1)
    return jax.tree.map(lambda leaf: leaf[order[:rows]], both), scores[rows]


def _start(state, bos, dtype, rows, width, size, attention) -> _Search:
    def repeat(leaf):
        return jnp.broadcast_to(leaf, (width, *leaf.shape))

    def record(leaf):
        return jnp.zeros((size, width, *leaf.shape), leaf.dtype)

    nothing = jnp.full(rows, -jnp.inf, dtype)
    none = jnp.zeros(rows, jnp.int32)
    ids = jnp.zeros((size, width), jnp.int32)
    return _Search(
        t=jnp.zeros((), jnp.int32),
        state=jax.tree.map(repeat, state),
        tokens=repeat(bos),
        log_probs=jnp.where(jnp.arange(width) == 0, jnp.zeros((), dtype), -jnp.inf),
        finished=_Finished(nothing, nothing, none, none, jnp.zeros(rows, dtype)),
        history=_History(
            ids, ids, jnp.zeros((size, width), dtype), jax.tree.map(record, attention)
        ),
        bound=jnp.full((), -jnp.inf, dtype),
        ended=jnp.zeros((), jnp.int32),
        invalid=jnp.zeros((), bool),
    )


def _result(
    search: _Search, penalty: LengthPenalty, eos: jax.Array, min_length: jax.Array, limit: jax.Array
) -> BeamResult:
    """Fills the rows with the finished, then with the cut, and follows the parents back."""
    finished, history = search.finished, search.history
    rows, (size, width) = finished.scores.shape[0], history.tokens.shape
    was_cut = (search.t >= limit) & (search.t > 0) & (search.log_probs > -jnp.inf)
    cut = _Finished(
        scores=jnp.where(was_cut, penalty(search.log_probs, search.t), -jnp.inf),
        log_probs=jnp.where(was_cut, search.log_probs, -jnp.inf),
        lengths=jnp.where(was_cut, search.t, 0),
        slots=jnp.arange(width, dtype=jnp.int32),
        last=jnp.zeros(width, search.log_probs.dtype),
    )
    # Of one length and sorted by log-probability, so sorted by score as well.
    count = (finished.scores > -jnp.inf).sum()
    row = jnp.arange(rows)
    ended = row < count
    source = jnp.where(ended, row, rows + row - count)
    table = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[source], finished, cut)
    filled = table.scores > -jnp.inf

    def follow(slot, t):
        ending = ended & (t == table.lengths - 1)
        before = jnp.where(ending, slot, history.parents[t][slot])
        before = jnp.where(t < table.lengths, before, slot)
        return before, (slot, before)

    times = jnp.arange(size)
    _, (after, before) = lax.scan(follow, table.slots, times, reverse=True)
    valid = times < table.lengths[:, None]
    ending = ended[:, None] & (times == table.lengths[:, None] - 1)
    tokens = jnp.take_along_axis(history.tokens, after, 1).T
    log_probs = jnp.take_along_axis(history.log_probs, after, 1).T

    def attended(leaf):
        chosen = jnp.swapaxes(jax.vmap(lambda one, slots: one[slots])(leaf, before), 0, 1)
        keep = valid.reshape(valid.shape + (1,) * (leaf.ndim - 2))
        return jnp.where(keep, chosen, jnp.zeros_like(chosen))

    running = best_possible(
        penalty, search.log_probs[0], jnp.maximum(search.t + 1, min_length), limit
    )
    running = jnp.where(search.log_probs[0] > -jnp.inf, running, -jnp.inf)
    bound = jnp.where(search.invalid, jnp.inf, jnp.maximum(search.bound, running))
    return BeamResult(
        tokens=jnp.where(valid & ~ending, tokens, eos),
        lengths=table.lengths,
        scores=table.scores,
        log_probs=table.log_probs,
        token_log_probs=jnp.where(
            ending, table.last[:, None], jnp.where(valid, log_probs, jnp.zeros_like(log_probs))
        ),
        attention=jax.tree.map(attended, history.attention),
        stops=jnp.where(
            ended, StopReason.EOS, jnp.where(filled, StopReason.CUT, StopReason.EMPTY)
        ).astype(jnp.int32),
        proven=ended & (table.scores >= bound),
        bound=bound,
        steps=search.t,
        invalid=search.invalid,
    )
