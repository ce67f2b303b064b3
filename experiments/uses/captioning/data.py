"""Small pictures and what is to be said of them."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_file

SIZE = 32
NEAR = 0.05
"""Root mean square difference, of a range of 1, below which two emoji are taken for one."""


class Picture(NamedTuple):
    """A picture and its caption."""

    pixels: np.ndarray
    """[SIZE, SIZE, 3] uint8, red, green and blue."""
    words: tuple[str, ...]


def read(path: Path) -> list[list[Picture]]:
    """Emoji and their English names, those that are variants of one another in one list.

    Variants differ in skin tone, in gender, or hardly at all (by less than NEAR, or over others
    that do). Whoever splits these lists has no near twin of a test picture in training.

    Args:
      path: a folder with `images.npz` (an array `images` [N, 32, 32, 3] of uint8) and
        `captions.jsonl.gz` (N lines, objects with the strings "emoji" and "en"); or one of the two.

    Raises:
      UserError: they are not there, are damaged, or do not belong together.
    """
    folder = path if path.is_dir() else path.parent
    images, captions = _images(folder / "images.npz"), _captions(folder / "captions.jsonl.gz")
    if len(images) != len(captions):
        raise UserError(f"{folder} holds {len(images)} images but {len(captions)} captions.")
    groups: dict[int, list[Picture]] = {}
    for number, pixels, (_, name) in zip(
        variants(images, [emoji for emoji, _ in captions]), images, captions, strict=True
    ):
        groups.setdefault(number, []).append(Picture(pixels, words_of(name)))
    return list(groups.values())


def words_of(name: str) -> tuple[str, ...]:
    """Words, with their hyphens and apostrophes, and marks by themselves."""
    return tuple(re.findall(r"[\w’'.&-]+|[^\w\s]", name))


_PERSONS = "\U0001f468\U0001f469\U0001f9d1"  # man, woman, person
_VARIATIONS = {*"\u200d\ufe0f\u2640\u2642", *map(chr, range(0x1F3FB, 0x1F400))}


def variants(images: np.ndarray, emoji: Sequence[str]) -> list[int]:
    """For each image, the number of the first one of which it is a variant, perhaps its own."""
    leader = list(range(len(emoji)))

    def find(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    def join(i: int, j: int) -> None:
        i, j = sorted((find(i), find(j)))
        leader[j] = i

    first: dict[str, int] = {}
    for i, text in enumerate(emoji):
        bare = "".join(_PERSONS[0] if c in _PERSONS else c for c in text if c not in _VARIATIONS)
        join(first.setdefault(bare or text, i), i)
    whole = images.reshape(len(images), -1).astype(np.float32) / 255
    # The means of 4 x 4 pixels differ by no more than the pixels do: most pairs are soon settled.
    coarse = images.reshape(-1, SIZE // 4, 4, SIZE // 4, 4, 3).mean((2, 4), dtype=np.float32)
    coarse = coarse.reshape(len(images), -1) / 255
    for i in range(len(images)):
        for j in i + 1 + np.flatnonzero(np.mean((coarse[i + 1 :] - coarse[i]) ** 2, 1) < NEAR**2):
            if np.mean((whole[i] - whole[j]) ** 2) < NEAR**2:
                join(i, int(j))
    return [find(i) for i in leader]


def _images(path: Path) -> np.ndarray:
    content = io.BytesIO(read_file(path))
    try:
        with np.load(content, allow_pickle=False) as archive:
            images = archive["images"]
    except (KeyError, ValueError, OSError, EOFError, TypeError) as error:
        raise UserError(f"{path} is no .npz with an array 'images': {error}.") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short: {error}.") from error
    if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3) or not len(images):
        raise UserError(
            f"{path}: images must be uint8 of shape [N, {SIZE}, {SIZE}, 3], N above 0; got "
            f"{images.dtype} of shape {list(images.shape)}."
        )
    return images


def _captions(path: Path) -> list[tuple[str, str]]:
    """The emoji and the name of each line."""
    try:
        lines = gzip.decompress(read_file(path)).decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no gzip of UTF-8, perhaps cut short: {error}.") from error
    captions = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            emoji, name = entry["emoji"], entry["en"]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f'{path}, line {number}: expected "emoji" and "en", got {line[:60]!r}.'
            ) from error
        if not (isinstance(emoji, str) and isinstance(name, str) and words_of(name)):
            raise UserError(
                f'{path}, line {number}: "emoji" and "en" must be texts, got {entry!r}.'
            )
        captions.append((emoji, name))
    return captions


COLOURS = {
    "red": (205, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 205),
    "yellow": (230, 200, 40),
    "purple": (140, 50, 160),
    "black": (25, 25, 25),
}
SHAPES = {
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.9,
    "triangle": lambda x, y: (y <= 0.8) & (abs(x) <= (y + 1) / 1.8),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.33) & (np.maximum(abs(x), abs(y)) <= 1),
    "diamond": lambda x, y: abs(x) + abs(y) <= 1.1,
}
"""Of places in units of the size, y downwards: whether they belong to the shape."""
RELATIONS = {"above": (0, 1), "below": (0, -1), "left of": (1, 0), "right of": (-1, 0)}
"""Where the small shape lies, seen from the large one that is "above" it, and so on."""

THINGS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


def generate(
    seed: int, counts: Sequence[int] = (3000, 300, 300)
) -> tuple[list[Picture], list[Picture], list[Picture]]:
    """Drawn pictures to train on, to validate and to test: coloured shapes, and where they are.

        a small red circle
        a large blue cross below a small red square and left of a small green circle

    One shape, or a large one with one or two small ones at its sides; the caption names the large
    one first and the sides in the order of RELATIONS, so that no other is right. Place, size, shade
    and ground vary, and there is noise. The network must find each shape, bind its colour to it
    and not to its neighbour, say on which side it is, and stop when all is said.

    It is a fair test: every picture to validate or to test has a small thing beside a large one as
    no picture to train on has them (`combinations`), though both are there beside others. Who takes
    over the caption of a similar picture is wrong.
    """
    random = np.random.default_rng([seed, 3])
    allowed = combinations(seed)
    parts = [
        [_picture(random, allowed[0], allowed[number], number > 0) for _ in range(count)]
        for number, count in enumerate(counts)
    ]
    return parts[0], parts[1], parts[2]


def combinations(seed: int) -> np.ndarray:
    """[3, large, small] bool: which THINGS go together in all splits, in validation, in the test.

    For each large thing, a tenth of the small ones is for validation and another one for the test.
    """
    rows = np.tile(np.arange(len(THINGS)), (len(THINGS), 1))
    drawn = np.random.default_rng([seed, 4]).permuted(rows, axis=1) * 10 // len(THINGS)
    return np.stack([drawn >= 2, drawn == 1, drawn == 0])


def _picture(
    random: np.random.Generator, seen: np.ndarray, wanted: np.ndarray, new: bool
) -> Picture:
    """One picture; a `new` one has a combination that is wanted, and perhaps one that was seen."""
    count = int(random.integers(2 if new else 1, 4))
    main = int(random.integers(len(THINGS)))
    chosen = [int(random.choice(np.flatnonzero(seen[main]))) for _ in range(count - 1)]
    if new:
        chosen[random.integers(count - 1)] = int(random.choice(np.flatnonzero(wanted[main])))
    pixels = random.integers(190, 256, 3) + random.normal(0, 6, (SIZE, SIZE, 3))
    centre = random.uniform(14, 18, 2)
    large = count > 1 or random.random() < 0.5
    radius = random.uniform(5, 6) if large else random.uniform(3, 3.5)
    words = _draw(random, pixels, THINGS[main], centre, radius, large)
    sides = sorted(random.choice(len(RELATIONS), count - 1, replace=False))
    for number, (side, thing) in enumerate(zip(sides, chosen, strict=True)):
        relation, direction = list(RELATIONS.items())[side]
        small = random.uniform(3, 3.5)
        away = radius + small + random.uniform(0, 1.5)
        across = random.uniform(-3, 3)
        place = centre + away * np.array(direction) + across * np.array(direction[::-1])
        words += [*["and"] * (number > 0), *relation.split()]
        words += _draw(random, pixels, THINGS[thing], place, small, False)
    return Picture(np.clip(pixels, 0, 255).astype(np.uint8), tuple(words))


def _draw(
    random: np.random.Generator,
    pixels: np.ndarray,
    thing: tuple[str, str],
    centre: np.ndarray,
    radius: float,
    large: bool,
) -> list[str]:
    """Draws into `pixels`, and says what."""
    colour, shape = thing
    y, x = (np.indices((SIZE, SIZE)) + 0.5 - centre[::-1, None, None]) / radius
    shade = np.array(COLOURS[colour]) + random.uniform(-20, 20, 3)
    inside = SHAPES[shape](x, y)
    pixels[inside] = shade + random.normal(0, 6, (inside.sum(), 3))
    return ["a", "large" if large else "small", colour, shape]
