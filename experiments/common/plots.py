"""Pictures as PNG: learning curves, and where attention looked.

Drawn with matplotlib's `Figure` alone: no window system, no global state.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2a6f97", "#d1495b", "#3a7d44", "#8d5a97", "#b7791f")
_GREY = "#555555"


def learning_curves(
    entries: Sequence[Mapping[str, Any]],
    panels: Mapping[str, Sequence[str]],
    path: str | Path,
    *,
    title: str = "",
) -> None:
    """Draws curves over the steps, one panel beside the other.

    Args:
      entries: as `metrics.read_metrics` gives them; an entry need not have every name.
      panels: the label of each panel's axis and the names that it shows, such as
        `{"loss": ["train_loss", "val_loss"], "BLEU": ["val_bleu"]}`. Names that no entry has
        are left out, and so are panels without any. A panel of one curve marks its highest point
        where the label says BLEU, chrF or accuracy, its lowest elsewhere.
      path: the PNG to write.

    Raises:
      UserError: nothing to draw, or the file cannot be written.
    """
    from matplotlib.figure import Figure  # here: it is slow to import

    curves = {
        label: {name: points for name in names if len(points := _points(entries, name))}
        for label, names in panels.items()
    }
    curves = {label: lines for label, lines in curves.items() if lines}
    if not curves:
        wanted = ", ".join(name for names in panels.values() for name in names)
        raise UserError(f"no learning curve to draw: the metrics hold none of {wanted}.")
    figure = Figure(figsize=(1 + 4.6 * len(curves), 3.6))
    figure.set_layout_engine("constrained", wspace=0.06)
    axes = np.atleast_1d(np.asarray(figure.subplots(1, len(curves))))
    for ax, (label, lines) in zip(axes, curves.items(), strict=True):
        for colour, (name, points) in zip(COLOURS * len(lines), lines.items(), strict=False):
            dense = len(points) > 40
            style = {"linewidth": 1.1, "alpha": 0.9} if dense else {"marker": "o", "markersize": 3}
            ax.plot(*points.T, color=colour, label=name.replace("_", " "), **style)
        if len(lines) == 1:
            _mark_best(ax, next(iter(lines.values())), label)
        ax.set(xlabel="step", ylabel=label)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            ax.legend(frameon=False)
    if title:
        figure.suptitle(title, parse_math=False)
    save(figure, path)


def attention_map(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    path: str | Path,
    *,
    title: str = "",
) -> None:
    """Draws which source pieces each target piece attended to.

    Args:
      weights: `[len(target), len(source)]`, rows that sum to 1.
      source, target: the pieces beside the columns and rows.
      path: the PNG to write.
      title: the translation, say; wrapped to the picture's width.

    Raises:
      ValueError: the shape of `weights` is another.
      UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(target), len(source)):
        raise ValueError(
            f"attention_map: weights must be [{len(target)}, {len(source)}], one row for each "
            f"target piece and one column for each source piece; got shape {weights.shape}."
        )
    cell = 0.34
    width, height = 2.4 + cell * len(source), 2.0 + cell * len(target)
    figure = Figure(figsize=(max(width, 4.5), height), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    # The mark that sentencepiece puts before words is a heavy bar in most fonts.
    source, target = ([piece.replace("▁", "_") for piece in side] for side in (source, target))
    # Dollars in a sentence are money and no mathematics.
    slanted = {"rotation": 60, "ha": "left", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(source)), source, parse_math=False, **slanted)
    ax.set_yticks(range(len(target)), target, parse_math=False)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    # Lines between the cells, so that a faint one can be followed to its row and column.
    ax.set_xticks(np.arange(len(source) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(target) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#e8e8e8", linewidth=0.6)
    ax.tick_params(which="minor", length=0)
    ax.spines[:].set_color("#bbbbbb")
    bar = figure.colorbar(image, ax=ax, shrink=min(1.0, 1.6 / (cell * len(target))), aspect=14)
    bar.set_label("attention", color=_GREY)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    if title:
        columns = int(11 * max(width, 4.5))
        wrapped = "\n".join(textwrap.wrap(title, columns))
        figure.suptitle(wrapped, fontsize=11, parse_math=False)
    save(figure, path)


def _points(entries: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """`[N, 2]`: the steps at which `name` was logged, and its values."""
    found = [(e["step"], e[name]) for e in entries if isinstance(e.get(name), int | float)]
    return np.asarray(found, np.float64).reshape(-1, 2)


def _mark_best(ax: Axes, points: np.ndarray, label: str) -> None:
    high = any(word in label.lower() for word in ("bleu", "chrf", "accuracy"))
    best = int((np.argmax if high else np.argmin)(points[:, 1]))
    step, value = points[best]
    ax.plot(step, value, "o", color=COLOURS[1], markersize=6)
    ax.annotate(
        f"{value:.4g}",
        (step, value),
        xytext=(0, -14 if high else 9),
        textcoords="offset points",
        ha="center",
        color=COLOURS[1],
    )


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG of at most 128 colours, which is a third of the size of one of all."""
    from PIL import Image  # matplotlib needs it too

    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", pad_inches=0.12)
    picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    write_file(path, small.getvalue())
