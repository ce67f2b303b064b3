"""Tables of numbers, one row a moment of time; some that are made, with the best forecast known."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError, warn
from experiments.common.files import read_file

LEAST_ROWS = 36
_TIMES = {"", "date", "time", "timestamp", "datetime", "year", "month", "week", "day", "index"}


class Table(NamedTuple):
    """N moments of C series."""

    values: np.ndarray
    """[N, C] float64."""
    names: tuple[str, ...]
    expected: np.ndarray | None = None
    """[N, H, C]: the mean of row n + h + 1 given rows up to n, where a generator knows it."""


def read(path: Path) -> Table:
    """Columns of numbers as text: commas, semicolons, tabs or blanks between them; gzip or not.

    The first line may be a header. Leading columns that hold no numbers, that the header calls a
    date, a year or the like, or that count up by one are the time and are left out. An empty field
    was not measured: it takes the value above it, never the one below, which would tell of the
    future.

    Args:
      path: a file, or a folder with one .csv, .txt or .gz.

    Raises:
      UserError: it is not there, damaged, too short, or a field is no finite number; line and
        column are named.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in {".csv", ".txt", ".gz"})
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise UserError(f"{path} must hold one .csv, .txt or .gz, or name the file: {names}.")
        path = files[0]
    lines = _fields(path)
    header = None
    if lines and any(lines[0][1]) and all(_number(field) is None for field in lines[0][1]):
        header, lines = lines[0][1], lines[1:]
    if len(lines) < LEAST_ROWS:
        raise UserError(f"{path} has {len(lines)} rows of numbers; at least {LEAST_ROWS} are used.")
    width = len(lines[0][1])
    for line, fields in lines:
        if len(fields) != width or (header and len(header) != width):
            raise UserError(
                f"{path}, line {line}: {len(fields)} columns, where the first row has {width}"
                f"{f' and the header {len(header)}' if header else ''}; perhaps it is cut short."
            )
    first = _first_column(header, [fields for _, fields in lines])
    names = tuple(header) if header else tuple(f"column {i + 1}" for i in range(width))
    values = np.empty((len(lines), width - first))
    empty = 0
    for row, (line, fields) in enumerate(lines):
        for column, field in enumerate(fields[first:]):
            number = _number(field)
            if not field and row:
                number, empty = float(values[row - 1, column]), empty + 1
            if number is None or not math.isfinite(number):
                raise UserError(
                    f"{path}, line {line}, column {first + column + 1} ({names[first + column]}): "
                    f"{field!r} is no finite number."
                )
            values[row, column] = number
    if 10 * empty > values.size:
        raise UserError(f"{path}: {empty} of {values.size} fields are empty, more than a tenth.")
    if empty:
        warn(f"{path}: {empty} empty fields take the value above them.")
    return Table(values, names[first:])


def _fields(path: Path) -> list[tuple[int, list[str]]]:
    """The number of each line that is not blank, and what stands in it."""
    content = read_file(path)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}, perhaps it is cut short: {error}.") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    mark = next((mark for mark in ",;\t" if lines and mark in lines[0][1]), None)
    if mark is None:
        return [(number, line.split()) for number, line in lines]
    rows = csv.reader((line for _, line in lines), delimiter=mark, skipinitialspace=True)
    try:
        found = [[field.strip() for field in row] for row in rows]
    except csv.Error as error:
        raise UserError(f"{path} is no table of numbers: {error}.") from error
    if len(found) != len(lines):
        raise UserError(f"{path} is no table of numbers: a quotation mark is not closed.")
    return [(number, row) for (number, _), row in zip(lines, found, strict=True)]


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _first_column(header: list[str] | None, rows: list[list[str]]) -> int:
    """How many leading columns are the time."""
    width = len(rows[0])
    for column in range(width - 1):
        named = header is not None and header[column].lower() in _TIMES
        numbers = [_number(row[column]) for row in rows]
        words = sum(number is None for number in numbers) > len(rows) // 2 and bool(rows[0][column])
        counts = not column and None not in numbers and set(np.diff(np.array(numbers))) == {1.0}
        if not (named or words or counts):
            return column
    return width - 1


def generate(seed: int, *, series: int = 8, length: int = 1000, horizon: int = 24) -> Table:
    """Trend, season and autoregressive noise; the noise is larger in one half of the season.

        z_t = level + slope t + season(t mod m) + n_t,    n_t = a n_{t-1} + b n_{t-2} + s_t e_t

    with e_t normal and s_t = s (1 + 0.6 sin(2 pi t / m + shift)). Each series has its own m and
    everything else. What can be known of the noise is a damped swing whose period is not m: the
    last value does not tell it, nor does the season, and how far it can be trusted changes with
    the season. Level, slope, season, a and b known, the mean of z_{t+h} given all up to t is exact:
    the recursion above with e = 0. No forecast has a smaller expected squared error (nor absolute
    one, all being normal), so `expected` gives the best that can be reached.
    """
    random = np.random.default_rng([seed, 101])
    values = np.empty((length, series))
    expected = np.full((length, horizon, series), np.nan)
    for column in range(series):
        season_length = int(random.integers(10, 25))
        phase = 2 * np.pi * np.arange(length + horizon) / season_length
        shifts, heights = random.uniform(0, 2 * np.pi, 3), random.uniform(0.5, 1.5, 2)
        known = random.normal(0, 5) + random.normal(0, 0.01) * np.arange(length + horizon)
        for harmonic in (1, 2):
            known += heights[harmonic - 1] * np.sin(harmonic * phase + shifts[harmonic - 1])
        decay, swing = random.uniform(0.85, 0.95), 2 * np.pi / random.uniform(5, 9)
        a, b = 2 * decay * np.cos(swing), -(decay**2)
        spread = 0.3 * (1 + 0.6 * np.sin(phase + shifts[2]))
        spread = np.concatenate([np.full(200, 0.3), spread[:length]])  # 200 steps to forget zeros
        noise = np.zeros(200 + length)
        for t in range(2, len(noise)):
            noise[t] = a * noise[t - 1] + b * noise[t - 2] + spread[t] * random.normal()
        noise = noise[199:]  # one before the first, for it needs two
        values[:, column] = known[:length] + noise[1:]
        before, last = noise[:-1], noise[1:]
        for step in range(horizon):
            before, last = last, a * last + b * before
            expected[:, step, column] = known[step + 1 : step + 1 + length] + last
    scales = 10.0 ** random.integers(-1, 3, series)
    names = tuple(f"series {column + 1}" for column in range(series))
    return Table(values * scales, names, expected * scales)


def season_of(values: np.ndarray, horizon: int) -> int:
    """The length of the season of [N] values, 1 where none is evident.

    The first high peak (over 0.3) of the autocorrelation around a straight line, up to a quarter of
    N; it counts if what was one season before is, over all of `values`, a better forecast of the
    next `horizon` values than the last one is.
    """
    count = len(values)
    times = np.arange(count)
    rest = values - np.polyval(np.polyfit(times, values, 1), times)
    power = np.abs(np.fft.rfft(rest, 2 * count)) ** 2
    correlation = np.fft.irfft(power)[: count // 4 + 1]
    inner = correlation[1:-1]
    peaks = 1 + np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:]))
    peaks = peaks[correlation[peaks] > 0.3 * correlation[0]]
    if not len(peaks):
        return 1
    season = int(peaks[correlation[peaks] >= 0.9 * correlation[peaks].max()][0])
    steps = np.arange(1, horizon + 1)
    back = season * -(-steps // season) - steps  # from the last known value to the season before
    naive = [
        np.mean(
            [
                np.abs(values[season + step :] - values[season - lag : count - step - lag]).mean()
                for step, lag in zip(steps, lags, strict=True)
            ]
        )
        for lags in (back, 0 * back)
    ]
    return season if naive[0] < naive[1] else 1
