"""How far gradients reach, and learning curves, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.benchmarks.plot import save
from experiments.claims.contest import Result, blocks
from experiments.claims.reach import Reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A family a hue; what tells its members apart is how the line is drawn.
_HUES = {"Elman": "#555555", "IRNN": "#b7791f", "GRU": "#2a6f97", "LSTM": "#d1495b"}
_CURVES = ("#d1495b", "#8d5a97", "#b7791f", "#2a6f97", "#61a5c2")
_DASHES = ("-", "--", ":")


def plot_reach(found: Mapping[str, Reach], path: str | Path) -> None:
    """Medians over the networks against the distance."""
    from matplotlib.figure import Figure  # here: it is slow to import

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    seen: dict[str, int] = {}
    for name, reach in found.items():
        family = next(family for family in _HUES if name.startswith(family))
        dash = _DASHES[seen.get(family, 0) % len(_DASHES)]
        seen[family] = seen.get(family, 0) + 1
        # 0 has no place on a logarithmic axis: a gap.
        values = np.where(reach.state > 0, reach.state, np.nan)
        axes.plot(
            np.arange(1, len(values) + 1), values, dash, color=_HUES[family], label=name, lw=1.5
        )
    axes.set(yscale="log", xlabel="steps back, k", ylabel=r"$|\partial L/\partial s_{T-k}|$")
    axes.set_ylim(bottom=1e-16)
    _finish(axes)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def plot_curves(results: Sequence[Result], path: str | Path) -> None:
    """The cells on one task: the median loss over the seeds; in shade, least to greatest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for colour, result in zip(_CURVES, results, strict=False):
        means = blocks(result.run.losses)
        means = np.where(np.isfinite(means), means, np.nan)
        at = (np.arange(len(means)) + 1) * len(result.run.losses) / len(means)
        axes.plot(at, np.median(means, axis=1), color=colour, label=result.cell, lw=1.5)
        low, high = means.min(axis=1), means.max(axis=1)
        axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(yscale="log", title=results[0].task, xlabel="updates", ylabel="training loss")
    _finish(axes)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def _finish(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
