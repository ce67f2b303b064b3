"""The comparison of searches as a table, as JSON and as a plot over the beam sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.common.files import write_file, write_json
from experiments.common.plots import COLOURS, save
from experiments.translation.folder import ModelFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """One search in the table; shares are of the sentences, in [0, 1]."""

    beam_size: int | None
    """None: it is no beam search."""
    bleu: float
    bleu_interval: float
    """95 %: the score lies in bleu +- this, by bootstrap."""
    p: float | None
    """Of the difference in BLEU from the baseline, by paired bootstrap; None: not tested."""
    chrf: float
    length_ratio: float
    milliseconds: float
    """A sentence."""
    certified: float | None
    """None: the search does not look for the model's best."""
    missed: float
    unknown: float


def header() -> str:
    """The first two lines of the table."""
    names = ("BLEU", "95 %", "p", "chrF", "length", "ms", "certified", "missed", "unknown")
    return f"| {'search':<16} | {' | '.join(f'{name:>9}' for name in names)} |\n" + (
        f"|{'-' * 18}|{'|'.join(['-' * 10 + ':'] * len(names))}|"
    )


def printed(label: str, line: Line) -> str:
    """A line of the table."""
    cells = (
        f"{line.bleu:.2f}",
        f"± {line.bleu_interval:.2f}",
        "" if line.p is None else f"{line.p:.3f}",
        f"{line.chrf:.2f}",
        f"{line.length_ratio:.3f}",
        f"{line.milliseconds:.1f}",
        "" if line.certified is None else f"{line.certified:.1%}",
        f"{line.missed:.1%}",
        f"{line.unknown:.1%}",
    )
    return f"| {label:<16} | {' | '.join(f'{cell:>9}' for cell in cells)} |"


def write_report(
    folder: ModelFolder, name: str, facts: Mapping[str, Any], lines: Mapping[str, Line]
) -> None:
    """`evaluation/NAME.compare.md` and `.json`, and `plots/compare-NAME.png`."""
    write_json(
        folder.evaluation / f"{name}.compare.json",
        {"settings": facts, "rows": {label: line._asdict() for label, line in lines.items()}},
    )
    table = "\n".join([header(), *(printed(label, line) for label, line in lines.items())])
    settings = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    write_file(
        folder.evaluation / f"{name}.compare.md",
        f"{table}\n\n{settings}.\n\n"
        "certified: the search has proven that its translation is the model's best. missed: one of "
        "the other searches found a translation that the model prefers. unknown: nothing better is "
        "known, and it is not proven that there is nothing. 95 %: sacrebleu's bootstrap; p: of the "
        "difference in BLEU from the baseline, by its paired bootstrap.\n",
    )
    _plot(folder, name, lines)


def _plot(folder: ModelFolder, name: str, lines: Mapping[str, Line]) -> None:
    from matplotlib.figure import Figure  # here: it is slow to import

    beams = sorted(
        (line for line in lines.values() if line.beam_size), key=lambda b: b.beam_size or 0
    )
    others = {label: line for label, line in lines.items() if not line.beam_size}
    sizes = [line.beam_size for line in beams]
    figure = Figure(figsize=(13, 3.7), layout="constrained")
    quality, shares, time = figure.subplots(1, 3)

    bleu, half = (np.array([getattr(b, field) for b in beams]) for field in Line._fields[1:3])
    quality.plot(sizes, bleu, marker="o", markersize=3, color=COLOURS[0], label="beam search")
    quality.fill_between(sizes, bleu - half, bleu + half, color=COLOURS[0], alpha=0.12, lw=0)
    time.plot(sizes, [b.milliseconds for b in beams], marker="o", markersize=3, color=COLOURS[0])
    for colour, (label, line) in zip(COLOURS[1:], others.items(), strict=False):
        for ax, value in ((quality, line.bleu), (time, line.milliseconds)):
            ax.axhline(value, color=colour, linestyle="--", linewidth=1.1, label=label)
    quality.set(ylabel="BLEU, 95 % interval")
    time.set(ylabel="ms a sentence", yscale="log")

    for colour, field in zip(COLOURS, ("certified", "missed", "unknown"), strict=False):
        values = [100 * getattr(b, field) for b in beams]
        shares.plot(sizes, values, marker="o", markersize=3, color=colour, label=field)
    shares.set(ylabel="% of the sentences")
    for ax in (quality, shares, time):
        _finish(ax, sizes)
    quality.legend(frameon=False, fontsize=8)
    shares.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{folder.path.name}, {name}", parse_math=False)
    save(figure, folder.plots / f"compare-{name}.png")


def _finish(ax: Axes, sizes: list[Any]) -> None:
    ax.set(xscale="log", xlabel="beam size")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
