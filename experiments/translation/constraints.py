"""What a translation must, may and may not hold, as the options say it in words, in pieces."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import recurrax as rx
from experiments.common.errors import UserError, one_line
from experiments.translation.decoding import Decoding
from experiments.translation.text import read_lines
from experiments.translation.tokenizer import BLANK, UNK, Tokenizer


class Constraints(NamedTuple):
    """A pytree, the same for all sentences; None where nothing is asked for."""

    allowed: rx.decode.Automaton | None = None
    """What every translation must follow."""
    repeatable: Any = ()
    """Pieces [n] that may stand in a run that is repeated."""
    bias: Any = None
    """[V]: added to the log-probabilities."""

    @property
    def shortest(self) -> Any:
        """The fewest pieces of a translation that is allowed, the end counted."""
        return 1 if self.allowed is None else self.allowed.distance[self.allowed.start]


def constraints(decoding: Decoding, tokenizer: Tokenizer) -> Constraints:
    """Raises UserError where a word cannot be written, and where no translation is left."""
    try:
        automata = [*_automata(decoding, tokenizer)]
        allowed = functools.reduce(rx.decode.intersection, automata) if automata else None
    except ValueError as error:  # too large
        raise UserError(f"prefix, require, forbid, one of: {one_line(error)}.") from error
    repeatable = {p for word in decoding.repeatable for p in _inside(tokenizer, "repeatable", word)}
    found = Constraints(
        allowed=allowed,
        repeatable=np.array(sorted(repeatable), np.int32),
        bias=_bias(decoding.bias, tokenizer) if decoding.bias else None,
    )
    most = decoding.max_pieces or math.inf
    # The way to an accepting state passes no state twice; where there is none, it is longer.
    if allowed is not None and found.shortest > min(most, len(allowed.distance)):
        within = f" of at most {most} pieces" if decoding.max_pieces else ""
        raise UserError(
            f"prefix, require, forbid, one of: no translation{within} satisfies all of them."
        )
    return found


def _automata(decoding: Decoding, tokenizer: Tokenizer) -> Iterator[rx.decode.Automaton]:
    if decoding.prefix.strip():
        yield _beginning(_whole(tokenizer, "prefix", decoding.prefix))
    if decoding.require:
        phrases = [_inside(tokenizer, "require", phrase) for phrase in decoding.require]
        yield rx.decode.containing(phrases, ordered=decoding.in_order)
    if decoding.forbid:
        yield rx.decode.without(
            [_inside(tokenizer, "forbid", phrase) for phrase in decoding.forbid]
        )
    if decoding.one_of is not None:
        lines = filter(str.strip, read_lines(decoding.one_of))
        yield rx.decode.one_of(_whole(tokenizer, "one of", line) for line in lines)


def _beginning(pieces: Sequence[int]) -> rx.decode.Automaton:
    def leave(read):
        if read == len(pieces):
            return {}, read
        return {pieces[read]: read + 1}, None

    return rx.decode.explored(0, leave, lambda read: read == len(pieces))


def _whole(tokenizer: Tokenizer, option: str, words: str) -> list[int]:
    """The pieces of a text."""
    try:
        words.encode()  # Python hides bytes that are not UTF-8 in its arguments
        pieces = tokenizer.encode(words)
    except UnicodeError as error:
        raise UserError(f"{option}: {words!r} is not valid UTF-8.") from error
    if UNK in pieces:
        raise UserError(f"{option}: {words!r} has a character that no training sentence had.")
    if not pieces:
        raise UserError(f"{option}: {words!r} is nothing that is written.")
    return pieces


def _inside(tokenizer: Tokenizer, option: str, words: str) -> list[int]:
    """The pieces of words within a text: before a comma there is no blank."""
    pieces = _whole(tokenizer, option, words)
    blank = tokenizer.labels(pieces[:1]) == [BLANK]
    if blank and len(pieces) > 1 and not words.strip()[0].isalnum():
        return pieces[1:]
    return pieces


def _bias(entries: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    values = np.zeros(tokenizer.size)
    for entry in entries:
        word, _, nats = entry.rpartition("=")
        try:
            value = float(nats)
        except ValueError:
            value = math.nan
        if not word.strip() or not -math.inf <= value < 1e30:
            raise UserError(
                f"bias: expected WORD=NATS, such as dog=2.5 or, to forbid it, dog=-inf; got "
                f"{entry!r}."
            )
        values[_inside(tokenizer, "bias", word)] += value
    return values.astype(np.float32)
