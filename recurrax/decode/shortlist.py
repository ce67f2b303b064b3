"""A vocabulary short-list: the step computes the logits of a few tokens, of the source's choice.

The search then works on positions in the list, and its cost is that of a small vocabulary::

    step = rx.decode.shortlisted(step, tokens)  # the step's logits are [L], those of tokens [L]
    result = rx.beam_search(step, state, bos=0, eos=1, ...)  # tokens[0], tokens[1] are bos and eos
    result = rx.decode.from_shortlist(result, tokens)

`tokens` may be traced, so that each example of a batch has its own list.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from recurrax.decode import checks
from recurrax.decode.processors import integers
from recurrax.decode.records import BeamResult, StepOutput


def shortlisted(step: checks.Step, tokens: jax.typing.ArrayLike) -> checks.Step:
    """The step over positions in `tokens` [L] instead of over the vocabulary.

    Args:
      step: `(state, token) -> (state, logits)`: it gets a token of the vocabulary, and returns the
        logits [L] of the tokens in the list, in its order. With an output layer `w` [V, H], `b` [V]
        it is made on `w[tokens]` and `b[tokens]`, gathered once, outside the loop.
      tokens: [L] integers, the start and the end token among them. A negative one is padding, which
        the search never chooses.

    Returns:
      A step whose probabilities are those of the listed tokens, and sum to one over them.

    Raises:
      ValueError: the logits are not [L], or `tokens` no vector. TypeError: no integers.
    """
    name = "shortlisted"
    tokens = integers(name, "tokens", tokens)

    def listed(state: Any, position: jax.Array):
        state, output = step(state, jnp.maximum(tokens[position], 0))
        logits, attention = checks.split_output(output, name)
        if logits.shape != tokens.shape:
            raise ValueError(
                f"{name}: step must return the logits [{tokens.shape[0]}] of the listed tokens, "
                f"got shape {logits.shape}"
            )
        return state, StepOutput(jnp.where(tokens >= 0, logits, -jnp.inf), attention)

    return listed


def from_shortlist(result: BeamResult, tokens: jax.typing.ArrayLike) -> BeamResult:
    """The result with tokens of the vocabulary for positions in `tokens` [L]."""
    return result._replace(tokens=integers("from_shortlist", "tokens", tokens)[result.tokens])
