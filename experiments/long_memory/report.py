"""The results as a table for each task, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from experiments.common.plots import save
from experiments.common.tables import table


class Result(TypedDict):
    """One contestant. `course` holds [updates, mean % right over the seeds] after each test.

    `scores` are the seeds' own at the end; `length` is that of the sequences.
    """

    task: str
    length: int
    cell: str
    method: str
    course: list[tuple[int, float]]
    scores: list[float]
    solved: bool
    guess: float


def tables(results: Sequence[Result]) -> str:
    """A table for each task: contestants by lengths.

    An entry is % right, the mean over the seeds; of a task that all seeds solved, the updates that
    it took are in brackets.
    """
    found = []
    for task, rows in _grouped(results, "task").items():
        lengths = sorted({row["length"] for row in rows})
        entries = {(row["cell"], row["method"], row["length"]): _entry(row) for row in rows}
        contestants = dict.fromkeys((row["cell"], row["method"]) for row in rows)
        found.append(
            table(
                [task, *(f"T = {length}" for length in lengths)],
                [
                    [f"{cell}, {method}", *(entries.get((cell, method, at), "") for at in lengths)]
                    for cell, method in contestants
                ],
            )
        )
    return "\n\n".join(found)


def plot_results(results: Sequence[Result], path: Path) -> None:
    """A panel for each task and length: % right against the updates.

    A colour a cell, a dash a method; the dotted line is a guess without memory.
    """
    from matplotlib.figure import Figure  # here: it is slow to import

    panels: dict[str, list[Result]] = {}
    for row in results:
        panels.setdefault(f"{row['task']}, T = {row['length']}", []).append(row)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns + 1.4, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    colours = dict(zip(dict.fromkeys(r["cell"] for r in results), _COLOURS, strict=False))
    dashes = dict(zip(dict.fromkeys(r["method"] for r in results), _DASHES, strict=False))
    for (title, members), axes in zip(panels.items(), grid, strict=False):
        for row in members:
            axes.plot(
                *zip(*row["course"], strict=True),
                color=colours[row["cell"]],
                linestyle=dashes[row["method"]],
                linewidth=1.3,
                label=f"{row['cell']}, {row['method']}",
            )
        axes.axhline(members[0]["guess"], color="#999999", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="updates", ylabel="% right", ylim=(-2, 102))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid:
        axes.set_axis_off()
    # No one panel need show every contestant.
    legend = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(legend.values()), list(legend), frameon=False, fontsize=8, loc="outside right center"
    )
    save(figure, path)


_COLOURS = ("#555555", "#b7791f", "#2a6f97", "#d1495b", "#3a7d44")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def _entry(row: Result) -> str:
    score = f"{sum(row['scores']) / len(row['scores']):.0f}"
    return f"{score} ({row['course'][-1][0]})" if row["solved"] else score


def _grouped(results: Sequence[Result], key: str) -> Mapping[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result[key], []).append(result)
    return groups
