"""Pieces of polyphonic music as piano rolls: which of the 88 keys sound at each step."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import file_in, read_file

KEYS, LOWEST = 88, 21
"""A piano's keys, and the MIDI number of the lowest."""
_SPLITS = ("train", "valid", "test")
_NAMES = ("jsb-chorales-quarter.json.gz", "jsb-chorales-quarter.json")


def roll(chords: Sequence[Sequence[int]]) -> np.ndarray:
    """[T, 88] uint8, 1 where a key sounds, of the MIDI numbers that sound at each step."""
    found = np.zeros((len(chords), KEYS), np.uint8)
    for step, chord in enumerate(chords):
        found[step, [note - LOWEST for note in chord]] = 1
    return found


def read(path: Path) -> tuple[list[np.ndarray], ...]:
    """Rolls of train, valid and test, as Boulanger-Lewandowski et al. (2012) split the chorales.

    Args:
      path: a JSON file of the three splits, gzipped or not: each a list of pieces, a piece a list
        of steps, a step the MIDI numbers that sound; -1 is a voice that is silent. Or the folder
        that holds `jsb-chorales-quarter.json.gz`.

    Raises:
      UserError: it is not there, or damaged.
    """
    path = file_in(path, _NAMES)
    content = read_file(path)
    try:
        splits = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path} is no JSON, perhaps cut short: {error}.") from error
    if not isinstance(splits, dict) or not set(_SPLITS) <= set(splits):
        raise UserError(f"{path} must hold the splits {', '.join(_SPLITS)}.")
    return tuple(_pieces(splits[split], f"{path}: {split}") for split in _SPLITS)


def _pieces(pieces: object, where: str) -> list[np.ndarray]:
    if not isinstance(pieces, list) or not pieces:
        raise UserError(f"{where} must be a list of pieces, and not empty.")
    rolls = []
    for number, piece in enumerate(pieces):
        name = f"{where}, piece {number}"
        if not isinstance(piece, list) or not piece:
            raise UserError(f"{name} must be a list of steps, and not empty.")
        for step, chord in enumerate(piece):
            if not isinstance(chord, list) or not all(map(_is_note, chord)):
                raise UserError(
                    f"{name}, step {step} must be MIDI numbers from {LOWEST} to "
                    f"{LOWEST + KEYS - 1} (-1: silence), got {chord!r}."
                )
        rolls.append(roll([[note for note in chord if note != -1] for chord in piece]))
    if not any(roll.any() for roll in rolls):
        raise UserError(f"{where} has no note.")
    return rolls


def _is_note(note: object) -> bool:
    return type(note) is int and (note == -1 or LOWEST <= note < LOWEST + KEYS)


_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11))
"""Major, and harmonic minor: the fifth degree's chord is major in both."""
_FOLLOWERS = {0: (1, 3, 4, 5), 1: (4,), 3: (0, 1, 4), 4: (0, 5), 5: (1, 3)}
"""What may come after a chord, by degree: 0 the tonic, 3 the subdominant, 4 the dominant."""
_UPPER, _BASS = range(60, 80), range(40, 53)


def generate(seed: int, count: int = 1200) -> list[np.ndarray]:
    """Rolls of pieces in the form A B A, of 18 to 48 beats, in C, F and G, major and minor.

    A phrase has two to four bars of three or four beats and two chords a bar, on the first and the
    last-but-one beat. Each chord may follow the one before it; A goes from the tonic to the
    cadence V-I, B stops on V, and then A returns note for note. The bass has the root; three
    voices above it take the triad's notes with the least motion, and the top voice may fill a
    third with a passing note.

    The notes of a step are known from the step before but for few: a network must hear the key,
    the metre, and where in the phrase it is. Whoever remembers A, up to 32 beats later, can do
    without guessing in the last third.
    """
    random = np.random.default_rng([seed, 23])
    pieces: dict[bytes, np.ndarray] = {}
    while len(pieces) < count:  # no piece twice: it might come to two splits
        piece = _piece(random)
        pieces[piece.tobytes()] = piece
    return list(pieces.values())


def _piece(random: np.random.Generator) -> np.ndarray:
    scale = np.array(_SCALES[random.integers(2)]) + random.choice((0, 5, 7))
    beats, bars = int(random.integers(3, 5)), int(random.integers(2, 5))
    upper = sorted(random.choice(_UPPER, 3, replace=False))
    bass = int(random.choice(_BASS))
    voices: list[list[int]] = []
    for degrees in (_phrase(random, 2 * bars, "A"), _phrase(random, 2 * bars, "B")):
        for place, degree in enumerate(degrees):
            triad = scale[[degree, (degree + 2) % 7, (degree + 4) % 7]] % 12
            bass = min((n for n in _BASS if n % 12 == triad[0]), key=lambda n: (abs(n - bass), n))
            upper = _nearest(triad, upper)
            held = 2 if place % 2 else beats - 2
            voices += [[bass, *upper] for _ in range(held)]
    for step, (now, later) in enumerate(itertools.pairwise(voices), 1):
        between = [n for n in range(now[3] + 1, later[3]) if n % 12 in scale % 12]
        between += [n for n in range(later[3] + 1, now[3]) if n % 12 in scale % 12]
        if len(between) == 1 and step % (bars * beats) and random.random() < 0.5:
            now[3] = between[0]
    return roll([*voices, *voices[: bars * beats]])


def _phrase(random: np.random.Generator, count: int, kind: str) -> list[int]:
    """Degrees: from the tonic to V-I (A), or from anywhere else to V (B), each after a fit one."""
    end = [4, 0] if kind == "A" else [4]
    while True:
        degrees = [0 if kind == "A" else int(random.choice((1, 3, 5)))]
        while len(degrees) < count - len(end):
            degrees.append(int(random.choice(_FOLLOWERS[degrees[-1]])))
        if end[0] in _FOLLOWERS[degrees[-1]]:
            return degrees + end


def _nearest(triad: np.ndarray, before: Sequence[int]) -> list[int]:
    """The three notes of the triad, in any order and octave, with the least motion."""
    options = [[n for n in _UPPER if n % 12 == note] for note in triad]
    voicings = [sorted(voicing) for voicing in itertools.product(*options)]
    return min(voicings, key=lambda v: (sum(abs(a - b) for a, b in zip(v, before, strict=True)), v))
