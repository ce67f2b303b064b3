"""Automata: the languages of the builders, and searches that keep to them, against brute force.

A language is told by a plain Python predicate on whole sequences. What may follow on a prefix is
then what begins one of them.
"""

from __future__ import annotations

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V = 0, 1, 4
WORDS = (0, 2, 3)


def places(sequence, phrase):
    size = len(phrase)
    return [t for t in range(len(sequence) - size + 1) if sequence[t : t + size] == phrase]


def holds_in_order(sequence, phrases):
    """Some choice of places, each after the end of the one before."""
    for choice in itertools.product(*(places(sequence, phrase) for phrase in phrases)):
        ends = [start + len(phrase) for start, phrase in zip(choice, phrases, strict=True)]
        if all(start >= end for start, end in zip(choice[1:], ends, strict=False)):
            return True
    return False


def all_of(*phrases):
    return lambda sequence: all(places(sequence, phrase) for phrase in phrases)


def none_of(*phrases):
    return lambda sequence: not any(places(sequence, phrase) for phrase in phrases)


def matches(expression):
    return lambda sequence: re.fullmatch(expression, "".join(map(str, sequence))) is not None


TWO = rx.containing([[0, 2]])
ODD = rx.automaton([[1, -1, 0, 0], [0, -1, 1, 1]], [False, True])
PICKS = [(2, 3), (2,), (3, 0, 0), (0, 2, 3)]
LANGUAGES = {
    "one of": (rx.one_of(PICKS), lambda s: s in PICKS),
    "one of, with the empty one": (rx.one_of([(), (3, 3)]), lambda s: s in [(), (3, 3)]),
    "contains": (TWO, all_of((0, 2))),
    "contains both": (rx.containing([(0, 2), (2, 0)]), all_of((0, 2), (2, 0))),
    "contains overlapping ones": (
        rx.containing([(0, 0, 2), (0, 2, 0), (2,), (2,)]),
        all_of((0, 0, 2), (0, 2, 0), (2,)),
    ),
    "contains in order": (
        rx.containing([(0, 2), (2, 0)], ordered=True),
        lambda s: holds_in_order(s, [(0, 2), (2, 0)]),
    ),
    "contains one twice": (
        rx.containing([(2, 2), (2, 2)], ordered=True),
        lambda s: holds_in_order(s, [(2, 2), (2, 2)]),
    ),
    "without": (
        rx.without([(0, 0, 2), (0, 3), (2, 2)]),
        none_of((0, 0, 2), (0, 3), (2, 2)),
    ),
    "without a token": (rx.without([(3,)]), none_of((3,))),
    "pattern": (rx.pattern("0* (2 | 3 0?)+ "), matches("0*(2|30?)+")),
    "pattern with others": (rx.pattern(". [^ 2]* 2 . "), matches(".[^2]*2.")),
    "table": (ODD, lambda s: s.count(0) % 2 == 1),
    "both": (
        rx.intersection(TWO, ODD),
        lambda s: s.count(0) % 2 == 1 and (0, 2) in itertools.pairwise(s),
    ),
    "both, of which one is finite": (
        rx.intersection(rx.one_of(PICKS), rx.pattern("a . | . . a", {"a": 2})),
        lambda s: s in [(2, 3)],
    ),
}


def sequences(most, words=WORDS):
    return [s for n in range(most + 1) for s in itertools.product(words, repeat=n)]


def accepts(automaton, sequence):
    """On the host, token by token; and, at each step, whether the distance was that to an end."""
    state = int(automaton.start)
    for token in sequence:
        if automaton.tokens is None:
            state = automaton.targets[state, token]
        else:
            here = np.flatnonzero(automaton.tokens[state] == token)
            state = automaton.targets[state, here[0]] if len(here) else automaton.otherwise[state]
        if state < 0:
            return False
    return bool(automaton.accepting[state])


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


def stacked(automata):
    """As one, with a leading axis: padded to the same number of states and exceptions."""
    states, width = (max(a.targets.shape[axis] for a in automata) for axis in (0, 1))
    fills = rx.Automaton(-1, np.iinfo(np.int32).max, -1, False, 0, 2**30)

    def padded(leaf, fill):
        whole = np.full((states, width)[: leaf.ndim], fill, leaf.dtype)
        whole[tuple(map(slice, leaf.shape))] = leaf
        return whole

    rows = [jax.tree.map(padded, jax.tree.map(np.asarray, a), fills) for a in automata]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def viable(belongs, length):
    """Every prefix of a sequence of the language, of at most `length` tokens."""
    return {s[:n] for s in sequences(length) if belongs(s) for n in range(len(s) + 1)}


def keeping_to(belongs, length):
    allowed = viable(belongs, length)

    def change(log_probs, history):
        ends = [belongs(history)] * (len(history) <= length)
        keep = [any(ends) if v == EOS else (*history, v) in allowed for v in range(V)]
        return changed.normalised(np.where(keep, log_probs, -np.inf))

    return change


@functools.cache
def searched(limit=4, count=10, width=108):
    """All sparse automata and all models in one compiled search, free and within the limit."""
    names = [name for name, (a, _) in LANGUAGES.items() if a.tokens is not None]
    models = slow.random_models(50, count, V)

    def one(automaton, within, model):
        step = functools.partial(slow.jax_step, model)
        link = rx.following(automaton, eos=EOS, length_limit=within)
        step, state = rx.processed(step, jnp.asarray(model.state), link)
        options = {"bos": BOS, "eos": EOS, "max_length": limit, "length_penalty": -0.4}
        return {
            "wide": rx.beam_search(step, state, beam_size=width, n_best=4, **options),
            "exact": rx.exact_search(step, state, n_best=4, **options),
            "greedy": rx.greedy(step, state, **options),
        }

    with x64():
        run = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
        automata = stacked([LANGUAGES[name][0] for name in names])
        found = jax.tree.map(np.asarray, jax.jit(run)(automata, np.array([99, limit]), models))
    return models, {
        name: [jax.tree.map(lambda leaf, a=a, w=w: leaf[a, w], found) for w in (0, 1)]
        for a, name in enumerate(names)
    }


@pytest.mark.parametrize("within", [False, True])
def test_a_search_that_follows_an_automaton_is_brute_force(within):
    limit = 4
    models, results = searched()
    table = changed.tree(models, BOS, EOS, limit)
    for name, found in results.items():
        change = keeping_to(LANGUAGES[name][1], limit - 1 if within else 9)
        truth = changed.enumerated(table, change, EOS, limit, -0.4)
        changed.assert_best(found[within]["wide"], truth)
        changed.assert_best(found[within]["exact"], truth)


def test_within_the_limit_even_a_beam_of_one_ends_as_it_should():
    _, results = searched()
    ended = 0
    for name, found in results.items():
        greedy = found[True]["greedy"]
        possible = any(LANGUAGES[name][1](s) for s in sequences(3))
        assert (greedy.stops[:, 0] == (rx.StopReason.EOS if possible else 0)).all(), name
        for tokens, length in zip(greedy.tokens[:, 0], greedy.lengths[:, 0], strict=True):
            if possible:
                assert LANGUAGES[name][1](tuple(tokens[: length - 1].tolist()))
                ended += 1
    assert ended == 10 * 10


def test_a_traced_table_compiles_once_and_two_processors_are_the_intersection():
    rng = np.random.default_rng(6)
    tables = rng.integers(-1, 3, (2, 40, 3, V))
    tables[..., EOS] = -1
    accepting = rng.random((2, 40, 3)) < 0.5
    models, traces, limit = slow.random_models(51, 40, V), [], 4

    def one(table, accepting, model):
        traces.append(1)
        step, state = functools.partial(slow.jax_step, model), jnp.asarray(model.state)
        pair = (
            rx.following(rx.automaton(t, a), eos=EOS) for t, a in zip(table, accepting, strict=True)
        )
        step, state = rx.processed(step, state, *pair)
        return rx.beam_search(
            step, state, bos=BOS, eos=EOS, beam_size=108, max_length=limit, n_best=3
        )

    with x64():
        run = jax.jit(jax.vmap(one, (1, 1, 0)))
        found = jax.tree.map(np.asarray, run(tables, accepting, models))
        run(tables[:, ::-1], accepting[:, ::-1], models)
    assert len(traces) == 1
    for i in range(40):

        def walks(sequence, i=i):
            for table, ends in zip(tables[:, i], accepting[:, i], strict=True):
                state = 0
                for token in sequence:
                    state = table[state, token] if state >= 0 else -1
                if state < 0 or not ends[state]:
                    return False
            return True

        ends_early = {s: walks(s) for s in sequences(limit - 1)}
        # Two processors do not see each other's dead ends: their scores are those of a product of
        # masks, which is told here state by state.
        change = masks(tables[:, i], accepting[:, i])
        model = slow.Model(*(leaf[i : i + 1] for leaf in models))
        table = changed.tree(model, BOS, EOS, limit)
        truth = changed.enumerated(table, change, EOS, limit, 0.0)
        changed.assert_best(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], found), truth)
        for tokens, length in zip(found.tokens[i], found.lengths[i], strict=True):
            if length and tokens[length - 1] == EOS:
                assert ends_early[tuple(tokens[: length - 1].tolist())]


def masks(tables, accepting):
    """For each table in turn, forbids what leads nowhere in that table."""
    alive = []
    for table, ends in zip(tables, accepting, strict=True):
        live = set(np.flatnonzero(ends).tolist())
        for _ in table:
            live |= {s for s in range(len(table)) if live & set(table[s].tolist())}
        alive.append(live)

    def change(log_probs, history):
        for table, ends, live in zip(tables, accepting, alive, strict=True):
            state = 0
            for token in history:
                state = table[state, token] if state in live else -1
            state = state if state in live or not history else -1
            ways = [state >= 0 and int(table[state, v]) in live for v in range(V)]
            ways[EOS] = state >= 0 and ends[state]
            log_probs = changed.normalised(np.where(ways, log_probs, -np.inf))
        return log_probs

    return change


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
