"""Only what an automaton accepts: its state rides in the search's state.

A token is forbidden where the automaton has no transition for it, and the end token where the
automaton's state is not accepting. So a grammar, a trie of allowed outputs or a phrase that must
occur are one table, and any search, sampler or forced decoding keeps to it, inside its loop::

    answers = rx.decode.one_of([[7, 4, 9], [7, 5]])
    step, state = rx.processed(step, state, rx.decode.following(answers, eos=2))

A search that is exact is then exact among the accepted sequences, by the renormalised scores that
`rx.processed` speaks of. A beam keeps its K best prefixes, however much of the constraint they have
met: it need not find the best accepted sequence, and without a `length_limit` here it may find
none. Banks or grids of hypotheses by constraints met (Post and Vilar 2018) are not made here.

Two automata at once are two processors.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrax.decode import checks
from recurrax.decode.automaton import Automaton, check_automaton
from recurrax.decode.processors import Processor


def following(
    automaton: Automaton,
    *,
    eos: int | jax.Array,
    length_limit: int | jax.Array | None = None,
) -> Processor:
    """Forbids every token after which the automaton could accept no sequence any more.

    Args:
      automaton: what to keep to. Traced, if need be.
      eos: the token that ends a sequence, possible in the accepting states only. The automaton
        itself does not read it.
      length_limit: the most tokens of a sequence, the end token counted: that of the search. With
        it a token is forbidden, too, where what must still follow would not fit, so that any beam,
        of one too, ends in an accepted sequence, if there is one of that length and the model
        itself forbids no token. Traced.

    Raises:
      TypeError: `automaton` is none. ValueError: its table is not as wide as the vocabulary, or has
        a transition for the end token.
    """
    name = "following"
    check_automaton(name, automaton)
    dense = automaton.tokens is None
    last = automaton.targets.shape[1] - 1 if dense else None
    end = checks.scalar(name, "eos", eos, low=0, high=last)
    if not any(isinstance(leaf, Tracer) for leaf in (eos, automaton.targets)):
        targets = np.asarray(automaton.targets)
        reads = targets[:, int(eos)] if dense else targets[np.asarray(automaton.tokens) == int(eos)]
        if (reads >= 0).any():
            raise ValueError(
                f"{name}: the automaton must not read the end token {eos}; `accepting` says where "
                "it may stand"
            )
    limit = (
        None if length_limit is None else checks.scalar(name, "length_limit", length_limit, low=0)
    )

    def apply(memory, token, logits):
        t, state = memory
        vocabulary = logits.shape[0]
        state = jnp.where(t > 0, _row(automaton, state, vocabulary)[token], automaton.start)
        after = _row(automaton, state, vocabulary)
        allowed = after >= 0
        if limit is not None:
            allowed &= t + 1 + automaton.distance[after] <= limit
        is_end = jnp.arange(vocabulary) == end
        allowed = jnp.where(is_end, automaton.accepting[state], allowed) & (state >= 0)
        return (t + 1, state), jnp.where(allowed, logits, -jnp.inf)

    return Processor((jnp.zeros((), jnp.int32), automaton.start), apply)


def _row(automaton: Automaton, state: jax.Array, vocabulary: int) -> jax.Array:
    """[V]: the next state after each token."""
    targets = automaton.targets[state]
    if automaton.tokens is None or automaton.otherwise is None:
        if targets.shape != (vocabulary,):
            raise ValueError(
                f"following: the automaton's table is for {targets.shape[0]} tokens, but the step "
                f"returns logits of {vocabulary}"
            )
        return targets
    row = jnp.full(vocabulary, automaton.otherwise[state])
    return row.at[automaton.tokens[state]].set(targets, mode="drop")
