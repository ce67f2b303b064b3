"""Many examples through few slots: what has ended makes room for the next one at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.core import check_function
from recurrax.decode import checks
from recurrax.decode.records import Loop


class _Slots(NamedTuple):
    index: jax.Array  # [B] which example; N and more: none
    sources: Any
    carries: Any
    waiting: jax.Array  # [] the next example
    results: Any


def refilled(make: Callable[[Any], Loop], sources: Any, *, slots: int) -> Any:
    """Runs the loop of each of N examples, `slots` of them side by side, in one compiled loop.

    The result is that of `jax.vmap` of the whole search over `sources`, and in the same order. But
    where that takes as many steps as the longest search, for all examples, here a slot whose search
    has ended gets the next example before the next step. It pays where lengths differ and where N
    is many times `slots`::

        def make(source):
            return rx.decode.beam_loop(partial(step, source.memory), source.state, bos=1, ...)

        results = jax.jit(lambda sources: rx.decode.refilled(make, sources, slots=64))(sources)

    Examples do not influence each other. Scores are those of each example alone up to rounding:
    XLA may sum differently in batches of different sizes, here as in `jax.vmap`.

    Args:
      make: of one example, its `Loop`, such as `rx.decode.beam_loop` makes. It is traced again for
        each part of the loop, so let it compute nothing: encode the examples before, in batches,
        and let `sources` hold what the steps read.
      sources: a pytree of arrays with a leading axis N.
      slots: B, how many run side by side.

    Returns:
      What `finish` gives, leaves [N, ...].

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.
    """
    name = "refilled"
    check_function(name, "make", make)
    sources = jax.tree.map(jnp.asarray, sources)
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(sources)}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError(
            f"{name}: sources must be arrays with one leading axis N > 0, got the leading axes "
            f"{sorted(counts)}"
        )
    count = counts.pop()[0]
    width = min(checks.positive(name, "slots", slots), count)

    def taken(index):
        return jax.tree.map(lambda leaf: leaf[index], sources)

    def started(source):
        return make(source).start

    def finished(source, carry):
        return make(source).finish(carry)

    def running(state: _Slots) -> jax.Array:
        return jax.vmap(lambda source, carry: make(source).running(carry))(
            state.sources, state.carries
        )

    def all_busy(state: _Slots) -> jax.Array:
        return ((state.index >= count) | running(state)).all() & (state.index < count).any()

    def advance(state: _Slots) -> _Slots:
        carries = jax.vmap(lambda source, carry: make(source).advance(carry))(
            state.sources, state.carries
        )
        return state._replace(carries=carries)

    def any_ended(state: _Slots) -> jax.Array:
        return ((state.index < count) & ~running(state)).any()

    def refill(state: _Slots) -> _Slots:
        """Puts the next example in the place of one that has ended."""
        slot = jnp.argmax((state.index < count) & ~running(state))

        def put(all, one):
            return all.at[slot].set(one)

        source, carry = jax.tree.map(lambda leaf: leaf[slot], (state.sources, state.carries))
        results = jax.tree.map(
            lambda all, one: all.at[state.index[slot]].set(one),
            state.results,
            finished(source, carry),
        )
        new = taken(jnp.minimum(state.waiting, count - 1))
        return _Slots(
            index=put(state.index, state.waiting),
            sources=jax.tree.map(put, state.sources, new),
            carries=jax.tree.map(put, state.carries, started(new)),
            waiting=state.waiting + 1,
            results=results,
        )

    first = taken(jnp.arange(width))
    carries = jax.vmap(started)(first)
    one = jax.tree.map(lambda leaf: leaf[0], (first, carries))
    state = _Slots(
        index=jnp.arange(width, dtype=jnp.int32),
        sources=first,
        carries=carries,
        waiting=jnp.int32(width),
        results=jax.tree.map(
            lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype),
            jax.eval_shape(finished, *one),
        ),
    )

    def turn(state: _Slots) -> _Slots:
        # Two loops, not one example a turn: what XLA makes of the sources for the steps, such as a
        # copy in another layout, it makes anew in each turn.
        return lax.while_loop(any_ended, refill, lax.while_loop(all_busy, advance, state))

    return lax.while_loop(lambda state: (state.index < count).any(), turn, state).results
