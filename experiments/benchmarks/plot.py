"""Pictures of the tables, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.benchmarks.report import Row
from experiments.common.plots import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "recurrax": "#d1495b",
    "recurrax, bfloat16": "#f0a202",
    "lax.scan": "#555555",
    "linen": "#2a6f97",
    "nnx": "#61a5c2",
    "haiku": "#3a7d44",
    "equinox": "#8d5a97",
    "keras": "#b7791f",
    "torch": "#111111",
}


def plot_times(rows: Sequence[Row], path: str | Path) -> None:
    """Multiples of the arithmetic floor: a column of panels a cell, a row of panels a pass.

    Filled marks are sharded over the cores, hollow ones on one device; the bars are quartiles.
    """
    from matplotlib.figure import Figure  # here: it is slow to import

    cells, passes, shapes, contenders = (
        list(dict.fromkeys(values))
        for values in zip(
            *((row.cell, row.which, row.shape, (row.name, row.sharded)) for row in rows),
            strict=True,
        )
    )
    width = max(7.0, 1.2 + len(cells) * (0.9 + 0.12 * len(shapes) * len(contenders)))
    figure = Figure(figsize=(width, 1.6 + 3.2 * len(passes)), layout="constrained")
    grid = figure.subplots(len(passes), len(cells), squeeze=False, sharex=True, sharey="row")
    for i, which in enumerate(passes):
        for j, cell in enumerate(cells):
            axes = grid[i, j]
            here = [row for row in rows if row.cell == cell and row.which == which]
            _panel(axes, here, shapes, contenders)
            if i == 0:
                axes.set_title(cell)
        grid[i, 0].set_ylabel(f"{which}: time / floor")
    handles, labels = [], []
    for axes in grid.flat:  # no one panel need show every contender
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    columns = min(int(width / 1.7), len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path)


def _panel(
    axes: Axes, rows: Sequence[Row], shapes: list[str], contenders: list[tuple[str, bool]]
) -> None:
    for k, (name, sharded) in enumerate(contenders):
        mine = [row for row in rows if (row.name, row.sharded) == (name, sharded)]
        if not mine:
            continue
        offset = 0.8 * ((k + 0.5) / len(contenders) - 0.5)
        medians = [row.timing.median / row.floor for row in mine]
        spread = [
            [(row.timing.median - row.timing.low) / row.floor for row in mine],
            [(row.timing.high - row.timing.median) / row.floor for row in mine],
        ]
        axes.errorbar(
            [shapes.index(row.shape) + offset for row in mine],
            medians,
            yerr=spread,
            fmt="o",
            markersize=4.5,
            linewidth=1,
            color=_COLOURS.get(name, "#888888"),
            markerfacecolor=None if sharded else "white",
            label=mine[0].label,
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(shapes)), shapes, rotation=30, ha="right", fontsize=8)
    axes.set_xlim(-0.5, len(shapes) - 0.5)
    axes.axhline(1, color="#999999", linewidth=0.8, linestyle="--")
    axes.grid(axis="y", which="both", color="#e4e4e4", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def plot_lines(
    lines: dict[str, list[tuple[float, float]]],
    path: str | Path,
    *,
    xlabel: str,
    ylabel: str,
) -> None:
    """Named lines of (x, y) points, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for colour, (name, points) in zip(
        list(_COLOURS.values()) * len(lines), lines.items(), strict=False
    ):
        axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.grid(which="both", color="#e4e4e4", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, path)
