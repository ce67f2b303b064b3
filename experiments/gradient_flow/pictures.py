"""The figure of the texts: what arrives against the distance, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common.plots import save
from experiments.gradient_flow.measure import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A family a hue; what tells its members apart is how the line is drawn.
_HUES = {"Elman": "#555555", "IRNN": "#b7791f", "GRU": "#2a6f97", "LSTM": "#d1495b"}
_DASHES = ("-", "--", ":")


def plot_flows(found: Mapping[str, Flow], bound: float, path: str | Path) -> None:
    """Two panels: noise forward, and gradients backward, broad where clipped at each step."""
    from matplotlib.figure import Figure  # here: it is slow to import

    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    forward, backward = figure.subplots(1, 2, sharey=True)
    seen: dict[str, int] = {}
    for name, flow in found.items():
        family = next(family for family in _HUES if name.startswith(family))
        dash = _DASHES[seen.get(family, 0) % len(_DASHES)]
        seen[family] = seen.get(family, 0) + 1
        _draw(forward, flow.noise, dash, _HUES[family], label=name)
        _draw(backward, flow.gradient, dash, _HUES[family])
        if np.any(flow.clipped < 0.5 * flow.gradient):
            _draw(backward, flow.clipped, "-", _HUES[family], width=4, alpha=0.35)
    forward.set(yscale="log", ylim=(1e-16, 1e12), title="noise forward", xlabel="steps on, k")
    forward.set_ylabel(r"$|\mathrm{d}s_k|$ or $|\partial L/\partial s_{T-k}|$")
    backward.set(title=f"gradient backward (broad: clipped to {bound:g})", xlabel="steps back, k")
    for ax in (forward, backward):
        ax.title.set_fontsize(9)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=7)
    save(figure, path)


def _draw(
    ax: Axes, curve: np.ndarray, dash: str, colour: str, width: float = 1.3, **how: Any
) -> None:
    # 0 has no place on a logarithmic axis: a gap.
    values = np.where(curve > 0, curve, np.nan)
    ax.plot(np.arange(1, len(values) + 1), values, dash, color=colour, lw=width, **how)
