"""Rows of measured times, and the tables that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.common.tables import milliseconds, table
from experiments.common.timing import Timing

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


ABOUT = (
    "How many times recurrax is faster: the median over the shapes (least-greatest). Ours is "
    "sharded where the batch can be, but for the column of one device; peers are in float32 also "
    "where ours has bfloat16 products."
)


def summary(rows: Sequence[Row], which: str) -> str:
    """The table that `ABOUT` describes."""
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
    ("best JAX peer, unsharded", OURS, None, lambda r: _is_peer(r) and not r.sharded),
    ("best JAX peer, both sharded", OURS, True, lambda r: _is_peer(r) and r.sharded),
    ("torch", OURS, None, lambda r: r.name == FOREIGN),
    ("lax.scan, both on one device", OURS, False, lambda r: r.name == PLAIN and not r.sharded),
    ("lax.scan, both sharded", OURS, True, lambda r: r.name == PLAIN and r.sharded),
    (
        "bfloat16: best JAX peer, unsharded",
        ROUNDED,
        None,
        lambda r: _is_peer(r) and not r.sharded,
    ),
    ("bfloat16: recurrax", ROUNDED, None, lambda r: r.name == OURS),
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
