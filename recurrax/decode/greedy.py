"""Greedy search: the likeliest token at every step."""

from __future__ import annotations

from typing import Any

import jax

from recurrax.decode.beam import beam_search
from recurrax.decode.checks import Step
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.records import BeamResult


def greedy(
    step: Step,
    state: Any,
    *,
    bos: int | jax.Array,
    eos: int | jax.Array,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
) -> BeamResult:
    """Takes the likeliest token until it is the end token, for one example.

    It is the beam search with a beam of 1, and takes and returns what that does, in one row
    (N = 1). The penalty changes only the score that is reported. A sequence that reaches the limit
    is cut; where the logits become NaN or +inf, or forbid every token, the row is empty.

    Args, raises: see `rx.beam_search`.
    """
    return beam_search(
        step,
        state,
        bos=bos,
        eos=eos,
        beam_size=1,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
    )
