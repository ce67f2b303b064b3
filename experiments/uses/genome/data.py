"""Sequences of DNA and what they are: splice junctions and promoters."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_file

LETTERS = "ACGT"
AMBIGUOUS = dict(zip(LETTERS, LETTERS, strict=True))
AMBIGUOUS |= {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"}
AMBIGUOUS |= {"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"}
"""The letters of IUPAC, and what each may stand for (Cornish-Bowden, 1985)."""


class Strand(NamedTuple):
    """A sequence in capitals, and the place of its class in the names of the classes."""

    letters: str
    label: int


class Strands(NamedTuple):
    """A set, and the names of its classes."""

    strands: list[Strand]
    classes: tuple[str, ...]


def read(path: Path) -> Strands:
    """Splice junctions of primates or promoters of E. coli (Towell, Noordewier, Shavlik, 1990-92).

    Splice junctions: EI, where an exon ends and an intron begins in the middle of 60 nucleotides,
    IE, the other way, N, neither.

    Args:
      path: splice.arff (Weka's form; perhaps compressed, .gz) or promoters.data (UCI's), or a
        folder with the one or the other, the first before the second.

    Raises:
      UserError: it is not there, or damaged.
    """
    if path.is_dir():
        names = "splice.arff", "splice.arff.gz", "promoters.data"
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise UserError(f"{path} holds none of {', '.join(names)}.")
        path = found[0]
    content = read_file(path)
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("ascii")
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}, perhaps cut short: {error}.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    if path.name.removesuffix(".gz").endswith(".arff"):
        classes, width = ("EI", "IE", "N"), 60
        marker = [number for number, line in lines if line.lower() == "@data"]
        if not marker:
            raise UserError(f"{path} has no @data, perhaps cut short.")
        rows = [
            (number, "".join(fields[1:-1]), fields[-1])
            for number, line in lines[marker[0] :]
            if line and not line.startswith("%")
            for fields in [[field.strip(" '\"") for field in line.split(",")]]
        ]
    else:
        classes, width = ("-", "+"), 57
        rows = [
            (number, fields[-1].strip(), fields[0].strip())
            for number, line in lines
            if line
            for fields in [line.split(",")]
        ]
    strands = []
    for number, letters, label in rows:
        letters = letters.upper()
        where = f"{path}, line {number}"
        if len(letters) != width:
            raise UserError(
                f"{where}: {len(letters)} nucleotides, expected {width}; perhaps cut short."
            )
        if label not in classes:
            raise UserError(f"{where}: class {label!r} is none of {', '.join(classes)}.")
        if not set(letters) <= set(AMBIGUOUS):
            odd = next(letter for letter in letters if letter not in AMBIGUOUS)
            raise UserError(f"{where}: {odd!r} is no nucleotide.")
        strands.append(Strand(letters, classes.index(label)))
    missing = [
        name for label, name in enumerate(classes) if label not in {s.label for s in strands}
    ]
    if missing:
        raise UserError(f"{path} has no sequence of class {missing[0]}; perhaps cut short.")
    return Strands(strands, classes)


def encode(letters: str) -> np.ndarray:
    """[T, 4] float32: a one for the nucleotide; equal shares for what a letter may stand for."""
    table = np.zeros((128, len(LETTERS)), np.float32)
    for letter, meant in AMBIGUOUS.items():
        table[ord(letter)] = [float(one in meant) / len(meant) for one in LETTERS]
    return table[np.frombuffer(letters.encode("ascii"), np.uint8)]


def decode(array: np.ndarray) -> str:
    """The letters of what `encode` gave."""
    meant = {letters: letter for letter, letters in AMBIGUOUS.items()}
    names = ["".join(np.array(list(LETTERS))[row > 0]) for row in array]
    return "".join(meant[name] for name in names)


BOXES = ("TTGACA", "TATAAT")
"""Of E. coli's promoters: the first about 35 before the gene, the second about 10."""
BETWEEN = range(15, 20)
KINDS = ("no promoter", "forward", "backward")


def complement(letters: str) -> str:
    """The other strand, read in its own direction."""
    return letters[::-1].translate(str.maketrans(LETTERS, LETTERS[::-1]))


def generate(seed: int, count: int = 6000) -> Strands:
    """Promoters: do the two boxes stand in their order, and on which strand?

    Each sequence has, on each strand, each box once, anywhere, with 15 to 19 nucleotides between as
    in E. coli (Hawley and McClure, 1983). In "forward" those of the strand that is written are in
    order and those of the other are not, in "backward" the other way; in "no promoter" neither are.
    The other strand's are seen as their complements and from right to left.

    What must be learnt: to find words of six letters, and to remember at one which of the others
    came before it. It is a fair test because all classes have the same four words once each and as
    far apart: which words there are does not tell, only their order. Of two words in order the
    first is further left on the average, so what stands where tells a part: half the classes.
    """
    draw = random.Random(f"genome {seed}")
    return Strands([_boxes(draw, number % 3) for number in range(count)], KINDS)


def _boxes(draw: random.Random, label: int) -> Strand:
    ordered = [label == KINDS.index(name) for name in ("forward", "backward")]
    while True:
        letters = "".join(draw.choices(LETTERS, k=draw.randrange(50, 81)))
        for right in ordered:
            distance = 6 + draw.choice(BETWEEN)
            first = draw.randrange(len(letters) - distance - 5)
            boxes = BOXES if right else BOXES[::-1]
            for box, at in zip(boxes, (first, first + distance), strict=True):
                letters = letters[:at] + box + letters[at + len(box) :]
            letters = complement(letters)
        # Where a box lies on another's, or chance made one more, all is drawn again.
        sides = letters, complement(letters)
        if all(_ordered(side) is right for side, right in zip(sides, ordered, strict=True)):
            return Strand(letters, label)


def _ordered(letters: str) -> bool | None:
    """Whether the boxes are in order; None where there is not one of each, as far apart."""
    first, second = (
        [at for at in range(len(letters)) if letters.startswith(box, at)] for box in BOXES
    )
    if len(first) != 1 or len(second) != 1 or abs(second[0] - first[0]) - 6 not in BETWEEN:
        return None
    return first < second
