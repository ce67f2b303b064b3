"""Pictures of drawings by a pen, and of the density that was given to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.plots import COLOURS, save
from experiments.uses.handwriting.data import DOWN
from experiments.uses.handwriting.mixture import Mixture, log_density


def strokes(drawing: np.ndarray) -> list[np.ndarray]:
    """The places [N, 2] of each stroke, of offsets and pen states [T, 3]."""
    places = np.cumsum(drawing[:, :2], axis=0)
    return np.split(places, np.flatnonzero(drawing[:-1, 2] != DOWN) + 1)


def draw_rows(rows: Mapping[str, Sequence[np.ndarray]], path: Path) -> None:
    """Draws drawings [T, 3], a row for each entry, all at one scale.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # here: it is slow to import

    columns = max(map(len, rows.values()))
    spans = [np.ptp(np.cumsum(one[:, :2], axis=0), axis=0).max() for row in rows.values()
             for one in row]  # fmt: skip
    side = 0.55 * (np.quantile(spans, 0.95) or 1.0)
    figure = Figure(figsize=(1.1 * columns, 1.4 * len(rows)), layout="constrained")
    axes = np.asarray(figure.subplots(len(rows), columns, squeeze=False))
    for (title, row), places in zip(rows.items(), axes, strict=True):
        for ax in places:
            ax.axis("off")
        places[0].set_title(title, loc="left", fontsize=9, parse_math=False)
        for drawing, ax in zip(row, places, strict=False):
            lines = strokes(drawing)
            whole = np.concatenate(lines)
            x, y = (whole.min(0) + whole.max(0)) / 2
            for line in lines:
                ax.plot(*line.T, color="#222222", linewidth=1.1, solid_capstyle="round")
            ax.set(xlim=(x - side, x + side), ylim=(y + side, y - side), aspect="equal")
    save(figure, path)


def draw_density(
    mixtures: Mixture, drawing: np.ndarray, scale: float, path: Path, *, points: int = 160
) -> None:
    """Draws a drawing [T, 3] over the densities of its points, the largest at each place.

    Args:
      mixtures: [T, ..] of each point's offset over `scale`, given those before it.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    lines = strokes(drawing)
    places = np.concatenate(lines)
    before = np.concatenate([np.zeros((1, 2)), places[:-1]])
    middle, side = (places.min(0) + places.max(0)) / 2, 0.6 * max(scale, *np.ptp(places, axis=0))
    x, y = (np.linspace(at - side, at + side, points) for at in middle)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)

    @jax.jit
    def density(found: Mixture, origin: np.ndarray) -> jax.Array:
        return jax.vmap(log_density, in_axes=(None, 0))(found, jnp.asarray(grid - origin) / scale)

    log_p = np.full(len(grid), -np.inf)
    for step, origin in enumerate(before):
        found = jax.tree.map(lambda leaf, step=step: leaf[step], mixtures)
        log_p = np.maximum(log_p, density(found, origin))
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    ax = figure.subplots()
    # The logarithm, cut where it is faint, since a stroke under way is far surer than a leap.
    image = log_p.reshape(points, points)
    ax.pcolormesh(x, y, image, cmap="Blues", vmin=image.max() - 8, vmax=image.max())
    for line in lines:
        ax.plot(*line.T, ".-", color=COLOURS[1], linewidth=0.8, markersize=3)
    ax.set(ylim=(y[-1], y[0]), aspect="equal")
    ax.axis("off")
    save(figure, path)
