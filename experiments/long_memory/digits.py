"""Images of digits, pixel after pixel: scikit-learn's, which come with it, or MNIST from files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_file


class Split(NamedTuple):
    """Pixels [N, T] in [0, 1], float32, and labels [N] from 0 to 9, int32."""

    pixels: np.ndarray
    labels: np.ndarray


def load_digits(mnist: Path | None) -> tuple[Split, Split]:
    """To train on and to test on: 1437 and 360 images of 8 x 8, or MNIST's 60000 and 10000.

    Raises:
      UserError: a file of MNIST is missing or damaged; scikit-learn is not installed.
    """
    if mnist is not None:
        return read_mnist(mnist, "train"), read_mnist(mnist, "t10k")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn."
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pixels, labels = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int32)
    split = len(labels) * 4 // 5
    return Split(pixels[:split], labels[:split]), Split(pixels[split:], labels[split:])


def read_mnist(folder: Path, part: str) -> Split:
    """One half of MNIST, `part` "train" or "t10k", from its idx files, plain or gzipped.

    Raises:
      UserError: one is missing or damaged, or they do not belong together.
    """
    images = _read_idx(folder / f"{part}-images-idx3-ubyte", 3)
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or not len(labels):
        raise UserError(f"{folder} has {len(images)} {part} images and {len(labels)} labels.")
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    return Split(pixels, labels.astype(np.int32))


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """The array in an idx file of unsigned bytes: two zeros, 8, the number of axes, sizes, data."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        content = gzip.decompress(read_file(packed)) if packed.exists() else read_file(path)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{packed} is not a readable gzip file: {error}.") from error
    head = 4 + 4 * axes
    shape = np.frombuffer(content[4:head], ">i4") if len(content) >= head else np.array([-1])
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) - head != np.prod(shape):
        raise UserError(f"{path} is not an idx file of bytes with {axes} axes, or is cut short.")
    return np.frombuffer(content[head:], np.uint8).reshape(shape)
