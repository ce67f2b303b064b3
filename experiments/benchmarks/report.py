"""What a run says: rows as JSON, tables as Markdown, which is also what the terminal shows."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.timing import Timing

_PACKAGES = ("recurrax", "jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras", "torch", "numpy")
OURS, ROUNDED, PLAIN, FOREIGN = "recurrax", "recurrax, bfloat16", "lax.scan", "torch"


class Row(NamedTuple):
    """One contender's time for one pass ("forward" or "train") of one cell at one shape."""

    cell: str
    shape: str
    which: str
    name: str
    sharded: bool
    timing: Timing
    floor: float  # milliseconds

    @property
    def label(self) -> str:
        return f"{self.name}, sharded" if self.sharded else self.name


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the source too."""
    lines = [list(header), *map(list, rows)]
    # A right-aligned column's rule needs two characters, "-:".
    widths = [
        max(min(column, 1) + 1, *(len(line[column]) for line in lines))
        for column in range(len(header))
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ) + " |"
        for line in (lines[0], rule, *lines[1:])
    )  # fmt: skip


def milliseconds(timing: Timing) -> str:
    """The median, and the quartiles in brackets."""
    digits = 2 if timing.median < 10 else 1 if timing.median < 100 else 0
    return f"{timing.median:.{digits}f} ({timing.low:.{digits}f}-{timing.high:.{digits}f})"


def times(rows: Sequence[Row], cell: str, which: str) -> str:
    """Contenders by shapes: median (quartiles) in ms, and how often the floor goes into it."""
    rows = [row for row in rows if row.cell == cell and row.which == which]
    shapes, labels = _unique(row.shape for row in rows), _unique(row.label for row in rows)
    found = {(row.label, row.shape): row for row in rows}
    floors = {row.shape: f"{row.floor:.3g}" for row in rows}

    def entry(label: str, shape: str) -> str:
        row = found.get((label, shape))
        return f"{milliseconds(row.timing)} {row.timing.median / row.floor:.1f}x" if row else "-"

    lines = [[label, *(entry(label, shape) for shape in shapes)] for label in labels]
    return table([which, *shapes], [*lines, ["arithmetic floor", *(floors[s] for s in shapes)]])


def summary(rows: Sequence[Row], which: str) -> str:
    """How many times recurrax is faster: the median over the shapes, the least and the greatest.

    "Ours" is recurrax as the project recommends it, sharded where the batch can be; peers are in
    float32 also where ours has bfloat16 products.
    """
    rows = [row for row in rows if row.which == which]
    return table(
        [which, *(title for title, *_ in _RATIOS)],
        [
            [cell, *(_spread(_ratios(rows, cell, name, us, them)) for _, name, us, them in _RATIOS)]
            for cell in _unique(row.cell for row in rows)
        ],
    )


def _is_peer(row: Row) -> bool:
    return row.name not in (OURS, ROUNDED, PLAIN, FOREIGN)


_RATIOS: tuple[tuple[str, str, bool | None, Callable[[Row], bool]], ...] = (
    ("best JAX peer", OURS, None, lambda row: _is_peer(row) and not row.sharded),
    ("best JAX peer, both sharded", OURS, True, lambda row: _is_peer(row) and row.sharded),
    ("torch", OURS, None, lambda row: row.name == FOREIGN),
    ("lax.scan, both on one device", OURS, False, lambda r: r.name == PLAIN and not r.sharded),
    ("lax.scan, both sharded", OURS, True, lambda row: row.name == PLAIN and row.sharded),
    ("bfloat16: best JAX peer", ROUNDED, None, lambda row: _is_peer(row) and not row.sharded),
    ("bfloat16: recurrax", ROUNDED, None, lambda row: row.name == OURS),
)


def _ratios(rows: Sequence[Row], cell: str, name: str, us: bool | None, them: Any) -> list[float]:
    """For each shape, their best time over ours: sharded as `us` says, None for where it can be."""
    ratios = []
    for shape in _unique(row.shape for row in rows if row.cell == cell):
        here = [row for row in rows if row.cell == cell and row.shape == shape]
        ours = {row.sharded: row.timing.median for row in here if row.name == name}
        mine = ours.get(True in ours if us is None else us)
        best = min((row.timing.median for row in here if them(row)), default=None)
        if mine is not None and best is not None:
            ratios.append(best / mine)
    return ratios


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    return f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def machine() -> dict[str, Any]:
    """What a number depends on besides the code."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = jax.devices()
    linux = hasattr(os, "sched_getaffinity")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if linux else os.cpu_count(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "load at the start": round(os.getloadavg()[0], 2) if linux else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def describe(machine: Mapping[str, Any]) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, JAX on "
        f"{machine['devices']}; load at the start {machine['load at the start']}.\n"
        f"Python {machine['python']}, {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
