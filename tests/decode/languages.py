"""Languages that automata of ours keep to, each with a predicate on whole sequences."""

from __future__ import annotations

import itertools
import re

import numpy as np

import recurrax.decode as rx

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
