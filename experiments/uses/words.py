"""Words as numbers: for texts that come as words, one vocabulary of the training split."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

UNKNOWN, BEGIN, END = range(3)
_MARKS = ("<unknown>", "<begin>", "<end>")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their numbers; the first three are no words."""

    words: tuple[str, ...]

    @staticmethod
    def of(texts: Iterable[Sequence[str]], *, at_least: int = 1) -> Vocabulary:
        """The words that occur at least so often, the commonest first, equal ones by letters."""
        counts = collections.Counter(word for text in texts for word in text)
        common = sorted((-count, word) for word, count in counts.items() if count >= at_least)
        return Vocabulary((*_MARKS, *(word for _, word in common)))

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: Sequence[str]) -> np.ndarray:
        """[T] int32; UNKNOWN for every other word."""
        return np.array([self._numbers.get(word, UNKNOWN) for word in text], np.int32)

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words up to the first END."""
        found = []
        for number in numbers:
            if number == END:
                break
            found.append(self.words[number])
        return found
