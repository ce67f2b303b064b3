"""What a translation must, may and may not hold, as the options say it in words, in pieces."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import recurrax as rx
from experiments.common.errors import UserError
from experiments.translation.decoding import Decoding
from experiments.translation.text import read_lines
from experiments.translation.tokenizer import UNK, Tokenizer


class Constraints(NamedTuple):
    """A pytree, the same for all sentences; None where nothing is asked for."""

    allowed: rx.decode.Automaton | None = None
    """What every translation must follow."""
    prefix: Any = None
    """Pieces [P] that each begins with."""
    repeatable: Any = ()
    """Pieces [n] that may stand in a run that is repeated."""
    bias: Any = None
    """[V]: added to the log-probabilities."""


def constraints(decoding: Decoding, tokenizer: Tokenizer) -> Constraints:
    """Raises UserError where a word cannot be written, and where no translation is left."""
    read = functools.partial(_read, tokenizer)
    required = [read("require", phrase) for phrase in decoding.require]
    forbidden = [read("forbid", phrase) for phrase in decoding.forbid]
    automata = []
    if required:
        automata.append(rx.decode.containing(required, ordered=decoding.in_order))
    if forbidden:
        automata.append(rx.decode.without(forbidden))
    if decoding.one_of is not None:
        lines = filter(str.strip, read_lines(decoding.one_of))
        automata.append(rx.decode.one_of(read("one of", line) for line in lines))
    allowed = functools.reduce(rx.decode.intersection, automata) if automata else None
    # The way to an accepting state, the end token counted, passes no state twice.
    if allowed is not None and allowed.distance[allowed.start] > len(allowed.distance):
        raise UserError("require, forbid, one of: no translation satisfies all of them.")
    return Constraints(
        allowed=allowed,
        prefix=np.array(read("prefix", decoding.prefix)) if decoding.prefix.strip() else None,
        repeatable=_pieces(read("repeatable", word) for word in decoding.repeatable),
        bias=_bias(decoding.bias, tokenizer) if decoding.bias else None,
    )


def _read(tokenizer: Tokenizer, option: str, words: str) -> list[int]:
    pieces = tokenizer.encode(words)
    if UNK in pieces:
        raise UserError(f"{option}: {words!r} has a character that no training sentence had.")
    return pieces


def _pieces(words: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array(sorted({piece for word in words for piece in word}), np.int32)


def _bias(entries: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    values = np.zeros(tokenizer.size, np.float32)
    for entry in entries:
        word, _, nats = entry.rpartition("=")
        try:
            value = float(nats)
        except ValueError:
            value = math.nan
        if not word.strip() or math.isnan(value):
            raise UserError(f"bias: expected WORD=NATS, such as dog=2.5; got {entry!r}.")
        values[_read(tokenizer, "bias", word)] += value
    return values
