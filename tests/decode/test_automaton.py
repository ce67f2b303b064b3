"""Automata: the languages of the builders, against plain predicates, and what cannot be one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode.languages import (
    BOS,
    EOS,
    LANGUAGES,
    ODD,
    TWO,
    accepts,
    matches,
    sequences,
)


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language(name):
    automaton, belongs = LANGUAGES[name]
    automaton = jax.tree.map(np.asarray, automaton)
    told = [s for s in sequences(6) if belongs(s)]
    assert [s for s in sequences(6) if accepts(automaton, s)] == told
    assert told
    assert automaton.distance[automaton.start] == min(map(len, told)) + 1


def random_expression(rng, depth):
    """As `pattern` takes it, and as Python's `re` does."""
    if depth == 0:
        return [("2", "2"), ("3", "3"), ("four", "4"), (".", "."), ("[^ 2 four ]", "[^24]")][
            rng.integers(5)
        ]
    (one, python_one), (two, python_two) = (random_expression(rng, depth - 1) for _ in range(2))
    kind = rng.integers(5)
    if kind < 2:
        return f"{one} {two}", python_one + python_two
    if kind == 2:
        return f"({one} | {two})", f"(?:{python_one}|{python_two})"
    sign = "*+?"[rng.integers(3)]
    return f"({one}){sign} {two}", f"(?:{python_one}){sign}{python_two}"


def test_random_patterns_match_what_python_matches():
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(16):
        text, python = random_expression(rng, 3)
        automaton = jax.tree.map(np.asarray, rx.pattern(text, {"four": 4}))
        for sequence in sequences(4, (2, 3, 4, 7)):
            belongs = matches(python)(sequence)
            assert accepts(automaton, sequence) == belongs, (text, sequence)
            seen += belongs
    assert seen > 200


def test_the_size_of_a_trie_is_that_of_its_outputs():
    outputs = np.random.default_rng(7).integers(0, 30000, (300, 5)).tolist()
    trie = rx.one_of(outputs)
    prefixes = {tuple(output[:n]) for output in outputs for n in range(6)}
    assert trie.otherwise.shape == (len(prefixes),)
    assert trie.tokens.shape[1] == len({output[0] for output in outputs})
    assert accepts(jax.tree.map(np.asarray, trie), outputs[17])


def test_an_automaton_may_be_made_while_tracing():
    """It is made once all the same, and what is known of it is checked."""

    def run(logits):
        odd = rx.automaton(np.array([[1, -1, 0], [0, -1, 1]]), np.array([False, True]))
        both = rx.intersection(rx.containing([[2]]), rx.pattern("0 2* . 0*"))
        links = [rx.following(a, eos=EOS, length_limit=4) for a in (odd, both)]
        with pytest.raises(ValueError, match="must not read the end token 2"):
            rx.following(TWO, eos=2)
        step, state = rx.processed(lambda s, t: (s, logits), 0, *links)
        return rx.greedy(step, state, bos=BOS, eos=EOS, max_length=4)

    def applied(logits):
        link = rx.following(rx.containing([[2]]), eos=EOS)
        return link.apply(link.state, jnp.int32(0), logits)[1]

    assert "while" not in str(jax.make_jaxpr(applied)(jnp.zeros(3)))
    assert jax.jit(run)(jnp.array([0.0, 0.5, 1.0])).tokens[0].tolist() == [0, 2, 2, 1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.automaton([[0]], [[True]]), ValueError, "accepting must have shape"),
        (lambda: rx.automaton([0], [True]), ValueError, r"table must have shape \[S, V\]"),
        (lambda: rx.automaton([[1]], [True]), ValueError, "table must name states below 1, got 1"),
        (lambda: rx.automaton([[0.0]], [True]), TypeError, "table must be integers"),
        (lambda: rx.automaton([[0]], [1]), TypeError, "accepting must be booleans"),
        (lambda: rx.automaton([[0]], [True], 1), ValueError, "start must be in"),
        (lambda: rx.following([[0]], eos=0), TypeError, "following: expected an Automaton"),
        (lambda: rx.following(TWO, eos=2), ValueError, "must not read the end token 2"),
        (
            lambda: rx.following(ODD, eos=9),
            ValueError,
            r"following: eos must be in \[0, 3\], got 9",
        ),
        (lambda: rx.following(TWO, eos=1.0), TypeError, "following: eos must be an integer"),
        (lambda: rx.one_of([]), ValueError, "one_of: outputs must not be empty"),
        (lambda: rx.containing([[]]), ValueError, "containing: a phrase must have at least one"),
        (lambda: rx.without([[-1]]), ValueError, "explored: a token must not be negative, got -1"),
        (lambda: rx.without([[0.5]]), TypeError, "without: phrases must be sequences of integer"),
        (lambda: rx.without(3), TypeError, "without: phrases must be sequences of integer"),
        (lambda: rx.pattern("2 )"), ValueError, r"pattern: did not expect '\)'"),
        (lambda: rx.pattern("( 2"), ValueError, "without '"),
        (lambda: rx.pattern("[ 2"), ValueError, "without ']'"),
        (lambda: rx.pattern("| *"), ValueError, "nothing stands before"),
        (lambda: rx.pattern("word"), ValueError, "expected a token's number or name, got 'word'"),
        (lambda: rx.pattern("[ ]"), ValueError, "nothing matches"),
        (
            lambda: rx.pattern("2 " * 5000),
            ValueError,
            "recursion limit of .* got one of 5000 parts",
        ),
        (
            lambda: rx.explored(0, lambda n: ({}, n + 1), bool, most=9),
            ValueError,
            "more than most=9",
        ),
        (lambda: rx.intersection(TWO, None), TypeError, "intersection: expected an Automaton"),
        (
            lambda: jax.jit(lambda a: rx.intersection(a, a))(TWO),
            TypeError,
            "traced automata cannot be explored",
        ),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_table_of_another_vocabulary_is_an_error():
    step, state = rx.processed(lambda s, t: (s, jnp.zeros(5)), 0, rx.following(ODD, eos=EOS))
    with pytest.raises(ValueError, match="table is for 4 tokens, but the step returns logits of 5"):
        rx.greedy(step, state, bos=0, eos=1, max_length=3)
