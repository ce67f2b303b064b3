"""Drawings by a pen, as the way it takes: strokes, and the leaps between them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import file_in

DOWN, LIFTED, DONE = range(3)
"""What the pen does after a point: goes on, is lifted, is lifted for good."""
_FILES = ("kanji.npz", "omniglot.npz")
_SPLITS = ("train", "valid", "test")


def read(path: Path) -> tuple[list[np.ndarray], ...]:
    """Drawings of train, valid and test, each [T, 3] float32: offset x, offset y, pen.

    Whole numbers stand for the square around them: noise, uniform on [-1/2, 1/2), always the same,
    is added to the offsets, so that a density over them bounds that of the numbers (Theis et al.,
    2016) and none gains without limit from a point on a grid.

    Args:
      path: an .npz with, for each split, `<split>_strokes` [N, 3] (offset x, offset y, 1 where the
        pen is lifted after the point) and `<split>_lengths`, the points of each drawing, of which
        the last lifts the pen. Or a folder with `kanji.npz` or `omniglot.npz`.

    Raises:
      UserError: it is not there, or damaged.
    """
    path = file_in(path, _FILES)
    try:
        with np.load(path) as archive:
            parts = [(archive[f"{s}_strokes"], archive[f"{s}_lengths"]) for s in _SPLITS]
    except KeyError as error:
        raise UserError(f"{path} lacks an array: {error.args[0]}.") from error
    except (OSError, EOFError, ValueError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path}: {error}.") from error
    return tuple(
        _drawings(*part, f"{path}: {name}", np.random.default_rng(number))
        for number, (name, part) in enumerate(zip(_SPLITS, parts, strict=True))
    )


def _drawings(
    strokes: np.ndarray, lengths: np.ndarray, where: str, random: np.random.Generator
) -> list[np.ndarray]:
    if strokes.ndim != 2 or strokes.shape[1] != 3 or strokes.dtype.kind not in "if":
        raise UserError(f"{where}_strokes must be numbers [N, 3], got {strokes.shape}.")
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths) or lengths.min() < 1:
        raise UserError(f"{where}_lengths must be whole numbers from 1, of at least one drawing.")
    if lengths.sum() != len(strokes):
        raise UserError(
            f"{where}: the lengths add up to {lengths.sum()}, but there are {len(strokes)} points."
        )
    if not np.isfinite(strokes).all() or not np.isin(strokes[:, 2], (0, 1)).all():
        raise UserError(f"{where}_strokes must be finite, and its last column 0 or 1.")
    ends = np.cumsum(lengths) - 1
    if not (strokes[ends, 2] == 1).all():
        raise UserError(f"{where}: the last point of every drawing must lift the pen.")
    points = strokes.astype(np.float32)
    if np.array_equal(points[:, :2], np.round(points[:, :2])):
        points[:, :2] += random.uniform(-0.5, 0.5, (len(points), 2))
    points[ends, 2] = DONE
    return np.split(points, ends[:-1] + 1)


def generate(seed: int, count: int = 3000) -> list[np.ndarray]:
    """Drawings [T, 3] float32 in a made-up script, a hundredth of a letter's height the unit.

    A letter is a spine (a stem, a slash or a bow), one to three limbs on its right, and what closes
    it. The limbs of a letter are of one kind (bar, arc or loop) and part the spine into equal
    pieces, from above; a bar below closes a letter with a stem, a dot at the top one with a bow,
    and nothing one with a slash. Hands differ in size, slant and pace, and all of them shake.

    A point follows from the last few where a stroke is under way. Where the pen goes when it is
    lifted does not: a network must know which spine it was, where it is and how far down the pen
    has come, and what the first limb was like; the number of limbs is known from the place of the
    first, and so is the end.
    """
    random = np.random.default_rng([seed, 29])
    return [_letter(random) for _ in range(count)]


def _letter(random: np.random.Generator) -> np.ndarray:
    pace = 10 * np.exp(random.normal(0, 0.15))
    turn = np.linspace(0, 1, 200)
    spine_kind, limb_kind = random.choice(["stem", "slash", "bow"]), random.integers(3)
    lean = {"stem": 0 * turn, "slash": 60 * (1 - turn), "bow": -30 * np.sin(np.pi * turn)}
    spine = np.stack([lean[spine_kind], 100 * turn], axis=1)
    limbs = (
        np.stack([35 * turn, 0 * turn], axis=1),
        17 * np.stack([1 - np.cos(np.pi * turn), -np.sin(np.pi * turn)], axis=1),
        9 * np.stack([1 - np.cos(2 * np.pi * turn), -np.sin(2 * np.pi * turn)], axis=1),
    )
    paths = [spine]
    count = random.integers(1, 4)
    for number in range(1, count + 1):
        paths.append(limbs[limb_kind] + spine[round(199 * number / (count + 1))])
    if spine_kind == "stem":
        paths.append(np.stack([60 * turn - 30, 0 * turn + 110], axis=1))
    elif spine_kind == "bow":
        paths.append(np.stack([4 * turn - 18, 6 * turn], axis=1))
    shape = np.exp(random.normal(0, 0.12)) * np.array([[1, 0], [random.normal(0, 0.15), 1]])
    strokes = [_walk(path @ shape, pace, random) for path in paths]
    places = np.concatenate([np.zeros((1, 2)), *strokes])
    pens = [DOWN] * len(places[1:])
    for end in np.cumsum([len(stroke) for stroke in strokes]) - 1:
        pens[end] = LIFTED
    pens[-1] = DONE
    offsets = np.diff(places, axis=0)
    return np.concatenate([offsets, np.array(pens)[:, None]], axis=1).astype(np.float32)


def _walk(path: np.ndarray, pace: float, random: np.random.Generator) -> np.ndarray:
    """Points on a path, so far apart as the pace says, by a hand that shakes."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    count = max(2, round(along[-1] / pace) + 1)
    at = np.linspace(0, along[-1], count)
    points = np.stack([np.interp(at, along, side) for side in path.T], axis=1)
    return points + random.normal(0, 1.0, 2) + random.normal(0, 0.6, points.shape)
