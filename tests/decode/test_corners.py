"""Odd models and bad arguments."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow

EOS = 1
UNIFORM = np.full((6, 3, 3), 1 / 3, np.float32)


def search(step, state, **options):
    options = {"bos": 0, "eos": EOS, "beam_size": 3, "max_length": 5} | options
    run = jax.jit(lambda state: rx.beam_search(step, state, **options))
    return run(jax.tree.map(jnp.asarray, state))


def by_time(*rows):
    """A step whose logits depend on the time alone."""
    logits = jnp.asarray(rows, jnp.float32)
    return lambda time, token: (time + 1, logits[jnp.minimum(time, len(rows) - 1)])


def sequences(result):
    return [t[:n].tolist() for t, n in zip(result.tokens, result.lengths, strict=True)]


def test_fewer_sequences_than_beams():
    """Two sequences exist: 1 and 2 1. The other rows are empty."""
    inf = -jnp.inf
    result = search(by_time([inf, 0, 0], [inf, 0, inf]), 0, beam_size=5)
    assert sequences(result) == [[1], [2, 1], [], [], []]
    assert result.stops.tolist() == [1, 1, 0, 0, 0]
    np.testing.assert_array_equal(result.scores[2:], -np.inf)
    assert result.proven.tolist() == [True, True, False, False, False]
    assert not result.invalid
    assert result.steps == 2


def test_a_vocabulary_of_one():
    result = search(lambda s, t: (s, jnp.zeros(1)), 0, eos=0, beam_size=3)
    assert sequences(result) == [[0], [], []]
    assert result.scores[0] == 0


def test_a_dead_end_is_no_hypothesis():
    """After word 2 every token is forbidden."""
    inf = -jnp.inf
    rows = jnp.asarray([[inf, 0, 1], [inf, 0, 1], [inf, inf, inf]], jnp.float32)
    result = search(lambda s, token: (s, rows[token]), 0, beam_size=2)
    assert sequences(result) == [[1], []]
    assert not result.invalid


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_invalid_logits_never_win_and_are_reported(bad):
    """Word 2, the likelier one, leads to a NaN or +inf: it is dropped, word 0 goes on."""
    rows = jnp.asarray([[0, 0, 1.5], [0, 0, 0], [0, 1, bad]], jnp.float32)
    result = search(lambda s, token: (s, rows[token]), 0, beam_size=2)
    assert result.invalid
    assert all(2 not in s[:-1] for s in sequences(result))
    assert np.isfinite(result.scores).all()
    assert not result.proven.any()
    assert result.bound == np.inf
    nothing = search(lambda s, token: (s, rows[2]), 0, beam_size=2)
    assert nothing.invalid
    assert nothing.stops.tolist() == [0, 0]
    step = functools.partial(rx.greedy, lambda s, token: (s, rows[2]))
    greedy = jax.jit(lambda s: step(s, bos=0, eos=1, max_length=4))(0)
    assert greedy.invalid
    assert sequences(greedy) == [[]]


def test_equal_candidates_are_taken_in_order():
    """Lower tokens, and the extensions of better hypotheses, first; shorter results first."""
    result = search(slow.table_step(UNIFORM), 0, beam_size=2, max_length=2, min_length=2)
    assert sequences(result) == [[0, 1], [0, 0]]
    certain = by_time([0, 0, 0], [-jnp.inf, 0, -jnp.inf])
    result = search(certain, 0, beam_size=3)
    assert sequences(result) == [[1], [0, 1], [2, 1]]


def test_what_the_limit_cuts_fills_the_rows_that_are_left():
    result = search(by_time([0, -20, 0.1]), 0, beam_size=2, max_length=3)
    assert result.stops.tolist() == [2, 2]
    assert sequences(result)[0] == [2, 2, 2]
    assert not result.proven.any()
    result = search(by_time([0, 1, 2]), 0, beam_size=2, max_length=2, n_best=2)
    assert result.stops.tolist() == [1, 1]


def test_a_minimum_beyond_the_limit_cuts_everything():
    result = search(by_time([0, 5, 0]), 0, min_length=4, length_limit=3, beam_size=2)
    assert result.stops.tolist() == [2, 2]
    assert result.lengths.tolist() == [3, 3]


def test_no_row_stands_twice_after_an_incumbent_with_empty_rows():
    """Of the beam's two prefixes one leads nowhere, and the third sequence it did not look at."""
    rows = jnp.log(jnp.array([[0.2, 0, 0.5, 0.3], [1.0, 0, 0, 0], [0, 0, 0, 0], [0, 1.0, 0, 0]]))

    def step(read, token):  # the start token is 0 as well: word 0 is only followed by the end
        return read + 1, jnp.where((read > 0) & (token == 0), rows[3], rows[token])

    options = {"bos": 0, "eos": EOS, "max_length": 4}
    for search_again in (rx.exact_search, rx.best_first_search):

        @jax.jit
        def both(search_again=search_again):
            found = rx.beam_search(step, 0, beam_size=2, **options)
            more = {"incumbent": found, "n_best": 4, "budget": 30}
            return found, search_again(step, 0, **options, **more)

        found, exact = both()
        assert sequences(found) == [[3, 1], []]
        assert sequences(exact) == [[3, 1], [0, 1], [], []]
        assert exact.settled


def test_a_limit_of_zero_searches_nothing():
    result = search(by_time([0, 5, 0]), 0, length_limit=0)
    assert result.steps == 0
    assert result.stops.tolist() == [0, 0, 0]
    assert not result.proven.any()


def test_scores_are_wide_whatever_the_logits_are():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(7, 40)), jnp.bfloat16)

    def step(state, token):
        return state, logits[token % 7].astype(state.dtype)

    narrow = search(step, jnp.zeros((), jnp.bfloat16), length_penalty=0.6)
    wide = search(step, jnp.zeros((), jnp.float32), length_penalty=0.6)
    assert narrow.scores.dtype == jnp.float32
    jax.tree.map(np.testing.assert_array_equal, narrow, wide)


def test_any_state_will_do():
    """None, keys of random numbers, a tuple: what is no array of floats is reordered as well."""

    def step(state, token):
        key, nothing, count = state
        key = jax.random.fold_in(key, token)
        return (key, nothing, count + 1), jax.random.normal(key, (6,))

    state = (jax.random.key(0), None, 0)
    result = search(step, state, beam_size=4)
    again = jax.jit(jax.vmap(lambda t, n: rx.score(step, state, t, n, bos=0)))
    np.testing.assert_allclose(
        result.log_probs, again(result.tokens, result.lengths).log_prob, rtol=1e-5
    )


def test_patience_ends_the_search_and_says_that_nothing_is_proven():
    step = by_time([0, 3, 0])
    patient = search(step, 0, length_penalty=2.0, beam_size=2, max_length=30)
    hasty = search(step, 0, length_penalty=2.0, beam_size=2, max_length=30, patience=0.5)
    assert hasty.steps == 1 < patient.steps
    assert hasty.bound > hasty.scores[0]
    assert not hasty.proven.any()


def good(state, token):
    return state, jnp.zeros(3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_size": 0}, ValueError, "beam_size must be at least 1, got 0"),
        ({"beam_size": 2.0}, TypeError, "beam_size sizes the arrays.*Python int, got 2.0"),
        ({"beam_size": True}, TypeError, "beam_size sizes the arrays"),
        ({"max_length": -1}, ValueError, "max_length must be at least 1, got -1"),
        ({"max_length": jnp.ones(2)}, TypeError, "max_length sizes the arrays"),
        ({"n_best": 4}, ValueError, "n_best must be at most beam_size=3, got 4"),
        ({"n_best": 0}, ValueError, "n_best must be at least 1"),
        ({"length_limit": 6}, ValueError, r"length_limit must be in \[0, 5\], got 6"),
        (
            {"length_limit": jnp.ones(2, int)},
            ValueError,
            "length_limit must be one .*jax.vmap",
        ),
        ({"min_length": -1}, ValueError, r"min_length must be in \[0, 5\], got -1"),
        ({"min_length": 6}, ValueError, r"min_length must be in \[0, 5\], got 6"),
        ({"min_length": 1.5}, TypeError, "min_length must be an integer, got float32"),
        ({"bos": 3}, ValueError, r"bos must be in \[0, 2\], got 3"),
        ({"eos": -1}, ValueError, r"eos must be in \[0, 2\], got -1"),
        ({"eos": "</s>"}, TypeError, "eos must be an integer, got '</s>'"),
        ({"length_penalty": np.nan}, ValueError, "length_penalty must not be NaN"),
        ({"length_penalty": jnp.ones(2)}, ValueError, r"length_penalty must be one number.*\(2,\)"),
        ({"length_penalty": "gnmt"}, TypeError, "length_penalty must be a number, got 'gnmt'"),
        (
            {"length_penalty": rx.gnmt(jnp.ones(3))},
            ValueError,
            r"length_penalty must give one number .*\(3,\)",
        ),
        ({"length_penalty": None}, TypeError, "length_penalty must be a number, got None"),
        ({"length_penalty": True}, TypeError, "length_penalty must be a real number, got True"),
        ({"bos": None}, TypeError, "bos must be an integer, got None"),
        ({"bos": 2**40}, TypeError, "bos must be an integer, got 1099511627776"),
        ({"patience": 0}, ValueError, "patience must be above 0, got 0"),
        ({"step": None}, TypeError, "step must be a function of .state, token., got None"),
        ({"step": lambda s, t: s}, TypeError, "step must return .state, logits."),
        (
            {"step": lambda s, t: (s, jnp.zeros((2, 3)))},
            ValueError,
            "step must return logits of",
        ),
        ({"step": lambda s, t: (s, jnp.zeros(3, int))}, TypeError, "logits must be floating"),
        ({"step": lambda s, t: (s, (1, 2, 3))}, TypeError, "step must return .*is a tuple of 3"),
        ({"step": lambda s, t: (s, None)}, TypeError, "step must return logits .V., got NoneType"),
        (
            {"step": lambda s, t: (s.astype(jnp.bfloat16), jnp.zeros(3))},
            TypeError,
            "step changed the dtype",
        ),
        (
            {"step": lambda s, t: (s[None], jnp.zeros(3))},
            ValueError,
            "step changed the shape",
        ),
        (
            {"step": lambda s, t: ((s, s), jnp.zeros(3))},
            TypeError,
            "step must return a state of",
        ),
    ],
)
def test_errors_teach(options, error, message):
    arguments = {"step": good, "bos": 0, "eos": EOS, "beam_size": 3, "max_length": 5} | options
    with pytest.raises(error, match=f"beam_search: {message}"):
        rx.beam_search(state=jnp.zeros(()), **arguments)
    if set(options) <= {"max_length", "bos", "step"}:
        del arguments["beam_size"]
        with pytest.raises(error, match=f"greedy: {message}"):
            rx.greedy(state=jnp.zeros(()), **arguments)


def test_it_composes():
    """Inside jit, vmap and an outer scan."""
    step = slow.table_step(UNIFORM)
    one = functools.partial(search, step, max_length=4, min_length=2, beam_size=2)
    expected = one(jnp.int32(0))

    def outer(carry, start):
        return carry, one(start)

    _, scanned = jax.jit(lambda: jax.lax.scan(outer, 0, jnp.zeros(3, jnp.int32)))()
    mapped = jax.vmap(one)(jnp.zeros(3, jnp.int32))
    for several in (scanned, mapped):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), several, expected)
