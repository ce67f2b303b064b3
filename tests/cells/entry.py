"""What a test needs to know of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Entry(NamedTuple):
    """`reference(params, state, x) -> (state, y)` in NumPy, from the equations alone."""

    name: str
    make: Callable[[], Any]
    reference: Callable[[Any, Any, np.ndarray], tuple[Any, Any]]
    width: int
    """D, the width of one step's input."""
    checked: bool = True
    """Whether the cell checks its own arguments, as all of the library's do."""


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
