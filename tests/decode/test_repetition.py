"""Processors that look back, where `test_processors` and enumeration do not look."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx


@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_run_of_tokens_stands_twice(size):
    """Where the likeliest sequence is one token for ever, the search must go round it."""

    def run(exclude):
        step, state = rx.processed(
            lambda s, t: (s, jnp.array([2.0, -9.0, 1.0])),
            0,
            rx.no_repeat_ngrams(size, 8, exclude),
        )
        return rx.greedy(step, state, bos=0, eos=1, max_length=8)

    found = jax.jit(jax.vmap(run))(jnp.array([[-1], [0]]))
    tokens = found.tokens[0, 0, : found.lengths[0, 0]].tolist()
    runs = [tuple(tokens[t : t + size]) for t in range(len(tokens) - size + 1)]
    assert len(runs) == len(set(runs))
    assert tokens[:size] == [0] * size
    assert found.tokens[1, 0].tolist() == [0] * 8


def test_a_memory_too_short_for_the_search_is_no_silent_mistake():
    def run(room):
        step, state = rx.processed(
            lambda s, t: (s, jnp.array([2.0, -9.0, 1.0])), 0, rx.no_repeat_ngrams(9, room)
        )
        return rx.greedy(step, state, bos=0, eos=1, max_length=8)

    assert not run(7).invalid  # what the last token would have been stored in is not needed
    assert run(6).invalid
    assert run(6).bound == jnp.inf


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.repetition_penalty(0, 5), ValueError, "repetition_penalty: penalty must be"),
        (lambda: rx.repetition_penalty(1.0, 0), ValueError, "vocabulary must be at least 1"),
        (lambda: rx.frequency_penalty(np.nan, 5), ValueError, "frequency_penalty: penalty must"),
        (lambda: rx.presence_penalty("much", 5), TypeError, "presence_penalty: penalty must"),
        (lambda: rx.no_repeat_ngrams(0, 5), ValueError, "no_repeat_ngrams: size must be"),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
