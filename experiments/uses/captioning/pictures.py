"""Pictures of pictures: with their captions, and where attention was at each word."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.plots import COLOURS, save


def draw_captions(images: Any, written: list[str], references: list[str], path: Path) -> None:
    """Pictures with their captions; where the reference is another, it stands below in grey."""
    from matplotlib.figure import Figure  # here: it is slow to import

    rows = -(-len(images) // 4)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, 4, squeeze=False)).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, image, text, name in zip(axes, images, written, references, strict=False):
        ax.imshow(image)
        other = "" if text == name else "\n" + textwrap.fill(f"(is: {name})", 36)
        ax.text(
            *(0.5, -0.04, textwrap.fill(text, 36) + other),
            transform=ax.transAxes,
            ha="center",
            va="top",
            fontsize=8,
            color="black" if text == name else COLOURS[1],
            parse_math=False,
        )
    save(figure, path)


def draw_attention(image: np.ndarray, words: list[str], weights: Any, path: Path) -> None:
    """The picture once for each word, bright where attention [T, S] was."""
    from matplotlib.figure import Figure

    columns = min(len(words) + 1, 7)
    rows = -(-(len(words) + 1) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False)).ravel()
    side = int(np.sqrt(weights.shape[1]))
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(image)
    for ax, word, looked in zip(axes[1:], words, weights, strict=False):
        scale = len(image) // side
        light = np.kron(looked.reshape(side, side) / looked.max(), np.ones((scale, scale)))
        ax.imshow(np.uint8(image * (0.15 + 0.85 * light[..., None])))
        ax.set_title(word, fontsize=9, parse_math=False)
    save(figure, path)
