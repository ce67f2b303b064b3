"""The figure of the texts: what arrives against the distance, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.benchmarks.plot import save
from experiments.gradient_flow.measure import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A family a hue; what tells its members apart is how the line is drawn.
_HUES = {"Elman": "#555555", "IRNN": "#b7791f", "GRU": "#2a6f97", "LSTM": "#d1495b"}
_DASHES = ("-", "--", ":")


def plot_flows(found: Mapping[str, Flow], bound: float, path: str | Path) -> None:
    """Three panels: noise forward, gradients backward, and the same clipped at each step."""
    from matplotlib.figure import Figure  # here: it is slow to import

    panels = {
        "noise forward": ("noise", "steps on, k", r"$|\mathrm{d}s_k|$"),
        "gradient backward": ("gradient", "steps back, k", r"$|\partial L/\partial s_{T-k}|$"),
        f"the same, clipped to {bound:g}": ("clipped", "steps back, k", ""),
    }
    figure = Figure(figsize=(11.5, 3.9), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (title, (field, xlabel, ylabel)) in zip(axes, panels.items(), strict=True):
        _panel(ax, {name: getattr(flow, field) for name, flow in found.items()})
        ax.set(yscale="log", title=title, xlabel=xlabel, ylabel=ylabel)
    axes[0].set_ylim(1e-16, 1e12)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    save(figure, path)


def _panel(ax: Axes, curves: Mapping[str, np.ndarray]) -> None:
    seen: dict[str, int] = {}
    for name, curve in curves.items():
        family = next(family for family in _HUES if name.startswith(family))
        dash = _DASHES[seen.get(family, 0) % len(_DASHES)]
        seen[family] = seen.get(family, 0) + 1
        # 0 has no place on a logarithmic axis: a gap.
        values = np.where(curve > 0, curve, np.nan)
        ax.plot(
            np.arange(1, len(values) + 1), values, dash, color=_HUES[family], label=name, lw=1.4
        )
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
