"""The text as numbers: of a file, or one that the project makes; to train on, and held out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_file

Made = Literal["sentences", "hello"]
_SENTENCES = 12_000


class Corpus(NamedTuple):
    """A text in two parts, each letter as its number in the alphabet. int32."""

    alphabet: str
    train: np.ndarray
    held_out: np.ndarray


def load_corpus(path: Path | None, made: Made) -> Corpus:
    """The first 90% of the text to train on, the last 10% to test on.

    Every letter is one of Unicode's code points, and every one that occurs, wherever it does, is in
    the alphabet.

    Raises:
      UserError: the file is missing, damaged or no UTF-8, or it holds less than 20 letters.
    """
    text = make_text(made) if path is None else read_text(path)
    if len(text) < 20:
        raise UserError(f"{path} holds {len(text)} letters; there must be at least 20.")
    alphabet = "".join(sorted(set(text)))
    numbers = encode(text, alphabet)
    split = len(numbers) * 9 // 10
    return Corpus(alphabet, numbers[:split], numbers[split:])


def make_text(made: Made) -> str:
    """A text of the project's own, the same every time."""
    if made == "hello":
        return "hello" * 200
    from experiments.translation.corpus import generate

    pairs = generate(seed=0, train=_SENTENCES, val=0, test=0)["train"]
    return "".join(f"{pair.target}\n" for pair in pairs)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, plain or gzipped, with the line ends that it has.

    Raises:
      UserError: it is missing, damaged or not UTF-8.
    """
    content = read_file(path)
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{path} is not valid UTF-8: {error}.") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a readable gzip file: {error}.") from error


def encode(text: str, alphabet: str) -> np.ndarray:
    """Each letter's number. int32.

    Raises:
      UserError: one is not in the alphabet.
    """
    number = {letter: at for at, letter in enumerate(alphabet)}
    try:
        return np.array([number[letter] for letter in text], np.int32)
    except KeyError as error:
        raise UserError(
            f"the model knows no {error.args[0]!r}; its alphabet is {alphabet!r}."
        ) from error


def decode(numbers: np.ndarray, alphabet: str) -> str:
    return "".join(alphabet[number] for number in numbers)


class Streams:
    """B places of a text that are read side by side, k letters at a time, round and round.

    Stream b begins at letter b N / B and never jumps: where it reaches the place at which the next
    one began, it reads on, and after the text's last letter comes its first. So the state after a
    chunk is that before the next, the letters read are a function of the step's number alone, and
    the chunks fall elsewhere in every epoch.
    """

    def __init__(self, text: np.ndarray, streams: int, chunk: int):
        if len(text) < streams * chunk:
            raise UserError(
                f"the text to train on has {len(text)} letters, fewer than the {streams * chunk} "
                f"of one update (streams {streams}, chunk {chunk})."
            )
        self._text, self._chunk = text, chunk
        self._starts = np.arange(streams)[:, None] * len(text) // streams
        self.per_epoch = len(text) // (streams * chunk)

    def __getitem__(self, step: int) -> np.ndarray:
        """[B, k + 1]: what step number `step`, from 0 on, reads, and the letter that follows."""
        positions = self._starts + step * self._chunk + np.arange(self._chunk + 1)
        return self._text[positions % len(self._text)]

    def since(self, step: int) -> Iterator[np.ndarray]:
        while True:
            yield self[step]
            step += 1
