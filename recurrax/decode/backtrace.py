"""The end of a search: what won, followed back from its last token to its first."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode.problem import Problem
from recurrax.decode.records import BeamResult, StopReason


class Finished(NamedTuple):
    """The best N that ended, best first; -inf in empty rows."""

    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    slots: jax.Array  # where the hypothesis lived before the end token
    last: jax.Array  # log-probability of the end token


class History(NamedTuple):
    """Leaves [T, K, ...]: what step t did in each slot."""

    tokens: jax.Array
    parents: jax.Array  # the slot before the step
    log_probs: jax.Array
    attention: Any  # by the slot before the step


class Search(NamedTuple):
    t: jax.Array
    state: Any
    tokens: jax.Array  # [K] the newest token of each live hypothesis
    log_probs: jax.Array  # [K] in the order of the pool; -inf in empty slots
    finished: Finished
    history: History
    bound: jax.Array  # on the score of whatever was dropped so far
    ended: jax.Array  # how many hypotheses finished
    invalid: jax.Array
    carried: Any  # leaves [K, ...]: what the expansion keeps of each live hypothesis


def hypotheses(search: Search, problem: Problem, cut_compete: bool) -> BeamResult:
    """Fills the rows with the finished, then with the cut, and follows the parents back.

    Where `cut_compete`, the score alone decides, and what was cut may stand before the finished.
    """
    finished, history, eos = search.finished, search.history, problem.eos
    rows, (size, width) = finished.scores.shape[0], history.tokens.shape
    was_cut = (search.t >= problem.limit) & (search.t > 0) & (search.log_probs > -jnp.inf)
    cut_log_probs = jnp.where(was_cut, search.log_probs, -jnp.inf)
    cut = Finished(
        scores=problem.score(cut_log_probs, search.t),
        log_probs=cut_log_probs,
        lengths=jnp.where(was_cut, search.t, 0),
        slots=jnp.arange(width, dtype=jnp.int32),
        last=jnp.zeros(width, search.log_probs.dtype),
    )
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), finished, cut)
    is_cut = jnp.arange(rows + width) >= rows
    missing = both.scores == -jnp.inf
    keys = (-both.scores,) if cut_compete else (-both.scores, is_cut & ~missing, missing)
    source = jnp.lexsort(keys)[:rows]
    table = jax.tree.map(lambda leaf: leaf[source], both)
    filled = ~missing[source]
    ended = filled & ~is_cut[source]

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

    running = problem.best(search.log_probs.max(), search.t)
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
