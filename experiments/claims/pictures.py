"""Learning curves as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.claims.contest import Result, blocks
from experiments.common.plots import save

_CURVES = ("#d1495b", "#8d5a97", "#b7791f", "#2a6f97", "#61a5c2")


def plot_curves(results: Sequence[Result], path: str | Path) -> None:
    """The cells on one task: the median loss over the seeds; in shade, least to greatest."""
    from matplotlib.figure import Figure  # here: it is slow to import

    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    for colour, result in zip(_CURVES, results, strict=False):
        ends, means = blocks(result.run.losses)
        means = np.where(np.isfinite(means), means, np.nan)
        axes.plot(ends, np.median(means, axis=1), color=colour, label=result.cell, lw=1.5)
        low, high = means.min(axis=1), means.max(axis=1)
        axes.fill_between(ends, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(yscale="log", title=results[0].task, xlabel="updates", ylabel="training loss")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
