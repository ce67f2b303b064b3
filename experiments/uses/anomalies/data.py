"""Series in which something goes wrong, and the windows of time in which it does."""

from __future__ import annotations

import csv
import lzma
import math
import tarfile
import zlib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_file, read_json

KINDS = ("spike", "flat", "faster", "jump", "missing")
_GROUP = "realKnownCause"
_WEEK = 7 * 24 * 3600


class Series(NamedTuple):
    """One series; what is wrong with it lies in its windows."""

    name: str
    values: np.ndarray
    """[N] float64."""
    clock: np.ndarray
    """[N] seconds since a Monday began; of no length where no time is known."""
    windows: tuple[tuple[int, int], ...]
    """First row, and the row after the last."""
    kinds: tuple[str, ...]
    """What is wrong in each window; "" where that is not known."""
    normal: int
    """The first rows, which count as normal; a window that begins there is left out above."""


def read(path: Path, *, share: float = 0.15) -> list[Series]:
    """The group realKnownCause of the Numenta Anomaly Benchmark (Lavin and Ahmad, 2015).

    Args:
      path: NAB's folder (with `data/` and `labels/`), or one with `data.tar.xz` (or `data/`) and
        `combined_windows.json`, or that archive.
      share: of each series counts as normal.

    Raises:
      UserError: they are not there or damaged; a value is no finite number.
    """
    folder = path if path.is_dir() else path.parent
    archive = folder / "data.tar.xz" if path.is_dir() else path
    labels = folder / "labels" / "combined_windows.json"
    labels = labels if labels.is_file() else folder / "combined_windows.json"
    windows = read_json(labels)
    if not isinstance(windows, dict):
        raise UserError(f"{labels} must name the windows of each file; it is no object.")
    if path.is_dir() and (folder / "data" / _GROUP).is_dir():
        files = sorted((folder / "data" / _GROUP).glob("*.csv"))
        texts = {f"{_GROUP}/{file.name}": read_file(file) for file in files}
    else:
        texts = _unpacked(archive)
    if not texts:
        raise UserError(f"{path} holds no file of {_GROUP}.")
    return [_series(name, texts[name], windows.get(name), labels, share) for name in sorted(texts)]


def _unpacked(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(archive) as members:
            return {
                "/".join(Path(member.name).parts[-2:]): file.read()
                for member in members
                if Path(member.name).parent.name == _GROUP and (file := members.extractfile(member))
            }
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {archive}: {error}.") from error


def _series(name: str, content: bytes, spans: object, labels: Path, share: float) -> Series:
    try:
        rows = list(csv.reader(content.decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} is no table: {error}.") from error
    if not rows or rows[0] != ["timestamp", "value"]:
        raise UserError(f"{name} must begin with the line timestamp,value.")
    times, values = [], []
    for line, row in enumerate(rows[1:], 2):
        try:
            time, value = row
            times.append(_time(time))
            values.append(float(value))
        except ValueError:
            raise UserError(f"{name}, line {line}: no time and number: {','.join(row)}.") from None
        if not math.isfinite(values[-1]):
            raise UserError(f"{name}, line {line}: {row[1]} is no finite number.")
    if len(values) < 200:
        raise UserError(f"{name} has {len(values)} rows, fewer than 200; it is cut short.")
    try:
        found = [[_time(end) for end in span] for span in spans]  # type: ignore[union-attr]
        inside = [[begin <= time <= end for time in times] for begin, end in found]
    except (TypeError, ValueError) as error:
        raise UserError(f"{labels} has no windows of {name}: {error}.") from error
    normal = round(share * len(values))
    rows_in = [np.flatnonzero(window) for window in inside]
    windows = tuple((int(r[0]), int(r[-1]) + 1) for r in rows_in if len(r) and r[0] >= normal)
    monday = datetime(2001, 1, 1)
    clock = np.array([(time - monday).total_seconds() for time in times]) % _WEEK
    short = Path(name).stem
    return Series(short, np.array(values), clock, windows, ("",) * len(windows), normal)


def _time(text: str) -> datetime:
    """As the clock on the wall has it: what zone, if any, is named makes no difference."""
    return datetime.fromisoformat(text).replace(tzinfo=None)


def generate(seed: int, *, count: int = 10, length: int = 3000, normal: int = 1500) -> list[Series]:
    """Beats, as of a heart or a machine: a small and a large hump in every period, and noise.

    The period is 20 to 36 rows; the humps' places, widths and heights are each series' own, every
    beat is a little stronger or weaker, and the level drifts. After the first `normal` rows five
    things go wrong, one of each of KINDS in an order of their own, two periods apart or more:

        spike    a hump as high as the large one where none belongs
        flat     three beats are left out
        faster   four beats take two thirds of their time
        jump     the beats come half a period late from here on
        missing  one beat has no large hump

    A window begins where the first wrong hump would rise, and ends one period after the last of
    what is wrong. No value is unusual, nor is any change from one to the next: what is wrong is
    that it does not belong there, and to know that takes the memory of when the last beat was.
    """
    random = np.random.default_rng([seed, 103])
    return [_beats(random, f"series {number + 1}", length, normal) for number in range(count)]


def _beats(random: np.random.Generator, name: str, length: int, normal: int) -> Series:
    period = int(random.integers(20, 37))
    places = np.array([random.uniform(0.15, 0.3), random.uniform(0.55, 0.7)])
    heights = np.array([random.uniform(0.3, 0.5), random.uniform(0.9, 1.1)])
    widths = random.uniform(0.04, 0.06, 2)
    small, large = places
    slot, rise = (length - normal) // len(KINDS), 3 * widths.max()
    kinds = [str(kind) for kind in random.permutation(KINDS)]
    due = [
        normal + slot * number + int(random.integers(2 * period, slot - 6 * period + 1))
        for number in range(len(KINDS))
    ]
    humps, windows = [], []  # (centre, height, width in rows); in rows
    begin = -period * random.uniform()
    while begin < length:
        kind = kinds[len(windows)] if len(windows) < len(due) and begin >= due[len(windows)] else ""
        beats, beat, wrong = 1, float(period), None  # `wrong`: first and last, in periods
        if kind == "flat":
            wrong = small, small + 3
            begin += 3 * period
        elif kind == "faster":
            beats, beat, wrong = 4, period * 2 / 3, (small * 2 / 3, 8 / 3)
        elif kind == "jump":
            wrong = small, small + 0.5
            begin += period / 2
        elif kind == "missing":
            wrong = large, large
        elif kind == "spike":
            wrong = 0.93, 0.93
            humps.append((begin + 0.93 * period, heights[1], widths[1] * period))
        if wrong:
            since = begin - {"flat": 3.0, "jump": 0.5}.get(kind, 0.0) * period
            first, last = (since + period * at for at in wrong)
            windows.append((int(first - rise * period), min(int(last + period) + 1, length)))
        for number in range(beats):
            strength = random.normal(1, 0.05)
            for which in (0, 1) if kind != "missing" else (0,):
                centre = begin + beat * (number + places[which])
                humps.append((centre, strength * heights[which], beat * widths[which]))
        begin += beats * beat
    rows = np.arange(length)
    values = 0.05 * random.normal(size=length)
    values += 0.2 * np.sin(2 * np.pi * rows / random.uniform(500, 900) + random.uniform(0, 6))
    for centre, height, width in humps:
        values += height * np.exp(-0.5 * ((rows - centre) / width) ** 2)
    return Series(name, values, np.zeros(0), tuple(windows), tuple(kinds), normal)
