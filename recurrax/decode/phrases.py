"""Lexical constraints as automata: allowed outputs, phrases that must or must not occur.

Each is to be put around a step with `rx.decode.following`, and none needs to know the vocabulary.
A phrase is a sequence of tokens.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

from recurrax.decode.automaton import Automaton, explored

Phrase = Sequence[int]


def one_of(outputs: Iterable[Phrase]) -> Automaton:
    """Accepts these token sequences and no others: a trie, with one state a prefix.

    Raises:
      ValueError: there are none. TypeError: a token is no integer.

    >>> import recurrax as rx
    >>> cities = rx.decode.one_of([[5, 6], [5, 7, 7]])
    >>> print(cities.distance, cities.accepting)
    [3 2 1 2 1] [False False  True False  True]
    """
    allowed = set(_phrases("one_of", "outputs", outputs, empty=True))
    children: dict[tuple, dict] = {}
    for output in allowed:
        for end, token in enumerate(output):
            children.setdefault(output[:end], {})[token] = output[: end + 1]

    def leave(prefix):
        return dict(sorted(children.get(prefix, {}).items())), None

    return explored((), leave, allowed.__contains__, most=1 + sum(map(len, allowed)))


def containing(phrases: Iterable[Phrase], *, ordered: bool = False) -> Automaton:
    """Accepts what contains every one of `phrases`: the end token waits for the last of them.

    Exact under exact search. Under a beam, give `following` the length limit, so that the phrases
    come at all; where they come is then still a beam's choice. The unordered automaton has up to
    2^n states for each token of the n phrases.

    Args:
      phrases: at least one. Unordered, two may share tokens where they overlap, and one that is
        listed twice counts once.
      ordered: each must begin after the one before it has ended.

    Raises:
      ValueError: there are none, or one is empty. TypeError: a token is no integer.
    """
    wanted = _phrases("containing", "phrases", phrases)
    if not ordered:
        wanted = tuple(dict.fromkeys(wanted))

    def leave(state):
        left, read = state  # what is wanted still, and the end of what was read
        sought = left[:1] if ordered else left

        def after(token):
            met, rest = _advance(sought, (*read, token))
            if ordered:
                return (left[1:], ()) if met else (left, rest)
            left_now = tuple(phrase for phrase in left if phrase not in met)
            return left_now, _advance(left_now, rest)[1]

        return {token: after(token) for phrase in sought for token in phrase}, (left, ())

    return explored((wanted, ()), leave, lambda state: not state[0])


def without(phrases: Iterable[Phrase]) -> Automaton:
    """Accepts what contains none of `phrases`; a phrase of one token is that token, suppressed.

    Raises:
      ValueError: there are none, or one is empty. TypeError: a token is no integer.
    """
    barred = _phrases("without", "phrases", phrases)

    def leave(read):
        def after(token):
            met, rest = _advance(barred, (*read, token))
            return None if met else rest

        return {token: after(token) for phrase in barred for token in phrase}, ()

    return explored((), leave, lambda state: True)


def _advance(phrases: tuple[Phrase, ...], read: tuple[int, ...]) -> tuple[set, tuple[int, ...]]:
    """The phrases that `read` ends with, and its longest end that begins one."""
    ends = [read[place:] for place in range(len(read) + 1)]
    begins = {phrase[:size] for phrase in phrases for size in range(len(phrase))} | {()}
    return {phrase for phrase in phrases if phrase in ends}, next(e for e in ends if e in begins)


def _phrases(
    function: str, argument: str, values: Iterable[Phrase], *, empty: bool = False
) -> tuple[tuple[int, ...], ...]:
    try:
        phrases = tuple(tuple(operator.index(token) for token in phrase) for phrase in values)
    except TypeError:
        raise TypeError(
            f"{function}: {argument} must be sequences of integer tokens, got {values!r}"
        ) from None
    if not phrases:
        raise ValueError(f"{function}: {argument} must not be empty")
    if not empty and () in phrases:
        raise ValueError(f"{function}: a phrase must have at least one token, got {phrases}")
    return phrases
