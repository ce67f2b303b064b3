"""Diverse beam search: groups of hypotheses that avoid each other's words."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.backtrace import Search
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import problem
from recurrax.decode.records import BeamResult
from recurrax.decode.search import Pool, likeliest, loop, run


def diverse_beam_search(
    step: checks.Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    groups: int,
    beam_size: int,
    diversity: float | jax.Array,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
    n_best: int | None = None,
) -> BeamResult:
    """`groups` beam searches in turn, each kept from the words of those before it.

    A hypothesis is ranked by its log-probability less `diversity` for each live hypothesis of an
    earlier group that took the same token at the same time (Hamming diversity), summed over its
    tokens (Vijayakumar et al. 2018). The rank only chooses what lives and what may finish: the
    results are scored and sorted by the model alone, so that groups can be compared.

    The first group is `rx.beam_search`. A group depends only on those before it, so that fewer
    groups are the first of more; one that has ended, and words that end a sequence, keep nobody
    from anything. The groups take their steps one after the other: the time is that of G searches
    with a beam of `beam_size`.

    Args:
      step, state, bos, eos, max_length, length_limit, min_length, length_penalty: see
        `rx.beam_search`.
      groups: G, how many groups there are.
      beam_size: K, the number of live hypotheses of each group.
      diversity: what a token costs for each earlier use of it, at least 0; traced. 0 makes the
        groups alike, infinity forbids it.
      n_best: N, the rows of each group; all `beam_size` if None.

    Returns:
      A `BeamResult` with a leading axis of groups: `tokens` is [G, N, T], `scores` [G, N], `proven`
      [G, N] and so on. What a group proves holds among all sequences, whatever the groups are.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "diverse_beam_search"
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
    count = checks.positive(name, "groups", groups)
    width, rows = checks.beam(name, beam_size, n_best)
    checks.number(name, "diversity", diversity, low=0)
    strength = jnp.maximum(jnp.asarray(diversity, given.dtype), 0)
    times = jnp.arange(given.size)

    def one_group(used: jax.Array, group: jax.Array) -> tuple[jax.Array, BeamResult]:
        """`used` [G, T, K]: the live tokens of each group and time, -1 where there is none."""

        def expand(search: Search, states: Any, logits: jax.Array, may_end: jax.Array) -> Pool:
            # At most (G - 1) K tokens are penalised, so none outside this pool can be wanted, and
            # none has more log-probability than the least of the pool: the bounds stay right.
            pool = likeliest(search.log_probs, logits, given.eos, may_end, count * width + 2)
            uses = (pool.tokens[:, None] == used[:, search.t].ravel()).sum(-1)
            again = ~pool.ends & (uses > 0)  # not a product alone: of 0 and an infinite strength
            cost = jnp.where(again, strength * uses.astype(strength.dtype), 0)
            carried = search.carried[pool.parents] + cost
            return pool._replace(
                log_probs=jnp.where(pool.totals > -jnp.inf, pool.log_probs, -jnp.inf),
                order=pool.totals - carried,
                carried=carried,
            )

        parts = loop(given, width, rows, expand=expand, carried=jnp.zeros((), given.dtype))
        search = run(parts)
        return used.at[group].set(live_tokens(search)), parts.finish(search)

    def live_tokens(search: Search) -> jax.Array:
        # A slot was live after step t if something of later steps comes from it, or if it is live
        # now; what only filled a slot has no log-probability.
        last = (times == search.t - 1)[:, None]
        live = jnp.where(last, search.log_probs > -jnp.inf, search.history.log_probs > -jnp.inf)
        return jnp.where(live & (times < search.t)[:, None], search.history.tokens, -1)

    start = jnp.full((count, given.size, width), -1, jnp.int32)
    _, results = lax.scan(one_group, start, jnp.arange(count))
    return results
