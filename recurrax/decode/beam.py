"""Beam search and greedy search, which is a beam of one."""

from __future__ import annotations

import math
from typing import Any

import jax

from recurrax.decode.checks import Step, beam, number
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import problem
from recurrax.decode.records import BeamResult, Loop
from recurrax.decode.search import loop, run


def beam_search(
    step: Step,
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
    return _whole(
        "beam_search",
        step,
        state,
        bos=bos,
        eos=eos,
        beam_size=beam_size,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
        n_best=n_best,
        patience=patience,
    )


def beam_loop(
    step: Step,
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
) -> Loop:
    """`rx.beam_search` in its four parts, for callers that drive the search themselves.

    ::

        loop = beam_loop(step, state, ...)
        result = loop.finish(lax.while_loop(loop.running, loop.advance, loop.start))

    Args, raises: see `rx.beam_search`.
    """
    return _loop(
        "beam_loop",
        step,
        state,
        bos=bos,
        eos=eos,
        beam_size=beam_size,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
        n_best=n_best,
        patience=patience,
    )


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
    return _whole(
        "greedy",
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


def _loop(
    function: str,
    step: Step,
    state: Any,
    *,
    beam_size: int,
    n_best: int | None = None,
    patience: float | jax.Array = math.inf,
    **options: Any,
) -> Loop:
    width, rows = beam(function, beam_size, n_best)
    number(function, "patience", patience, above=0)
    return loop(problem(function, step, state, **options), width, rows, patience=patience)


def _whole(function: str, step: Step, state: Any, **options: Any) -> BeamResult:
    parts = _loop(function, step, state, **options)
    return parts.finish(run(parts))
