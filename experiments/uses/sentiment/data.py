"""Sentences and whether they speak well of something."""

from __future__ import annotations

import random
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UserError

CLASSES = ("negative", "positive")


class Review(NamedTuple):
    """A sentence, and its place in CLASSES."""

    words: tuple[str, ...]
    label: int


def read(path: Path) -> list[Review]:
    """Reviews of Pang and Lee (2005): `rt-polarity.neg` and `.pos`, one a line, in a zip or folder.

    Args:
      path: `sentence_polarity.zip` (nltk.org/nltk_data), or a folder with it or with the files.

    Raises:
      UserError: they are not there, or damaged.
    """
    if path.is_dir() and (path / "sentence_polarity.zip").is_file():
        path = path / "sentence_polarity.zip"
    reviews = []
    for label, ending in enumerate(("neg", "pos")):
        text = _member(path, f"rt-polarity.{ending}").decode("latin-1")
        lines = [tuple(line.split()) for line in text.splitlines()]
        if not any(lines):
            raise UserError(f"{path}: rt-polarity.{ending} holds no sentence.")
        reviews += [Review(words, label) for words in lines if words]
    return reviews


def _member(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.split("/")[-1] == name:
                    return archive.read(member)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {name} of {path}: {error}.") from error
    raise UserError(f"{path} holds no {name}.")


_GOOD = ["good", "great", "lovely", "clever", "moving", "funny", "warm", "brilliant"]
_BAD = ["bad", "dull", "awful", "silly", "slow", "boring", "cold", "clumsy"]
_THINGS = ["film", "plot", "story", "cast", "ending", "music", "script", "acting", "camera", "joke"]
_STRENGTH = ["", "", "very", "really", "quite", "so"]
_FILLER = ["we", "saw", "it", "with", "friends", "last", "week", ",", "and"]


def generate(seed: int, count: int = 3000) -> list[Review]:
    """Sentences of one to three opinions, half of them negated; the last that follows "but" counts.

    What a word means here depends on words before it, near ("not") and far ("but"): the words
    alone, in any order, do not tell.
    """
    draw = random.Random(f"sentiment {seed}")
    reviews: dict[Review, None] = {}  # in the order of their drawing, each once
    while len(reviews) < count:
        reviews[_review(draw)] = None
    return list(reviews)


def _review(draw: random.Random) -> Review:
    words = draw.sample(_FILLER, draw.randrange(4))
    label = draw.randrange(2)
    for number in range(draw.randrange(1, 4)):
        if number:
            words.append("but")
            label = 1 - label
        negated = draw.random() < 0.5
        adjective = draw.choice(_GOOD if label != negated else _BAD)
        strength = draw.choice(_STRENGTH)
        words += ["the", draw.choice(_THINGS), "is", *["not"] * negated, strength, adjective]
    return Review(tuple(word for word in words if word), label)
