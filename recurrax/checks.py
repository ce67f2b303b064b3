"""What functions check of the numbers they are given."""

from __future__ import annotations

import math
import numbers
from typing import Any


def check_number(name: str, argument: str, value: Any, bound: str = "> 0") -> float:
    """A constant of the equations as a Python float, which takes the dtype of what it multiplies.

    `bound` is "> 0", ">= 0", or "" for any finite number; raises where it does not hold.
    """
    expected = f"a number {bound}".rstrip()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: {argument} must be {expected}, got {value!r}")
    number = float(value)
    if not math.isfinite(number) or (bound and number < 0) or (bound == "> 0" and number == 0):
        raise ValueError(f"{name}: {argument} must be {expected} and finite, got {value}")
    return number


def check_count(name: str, argument: str, value: Any) -> None:
    """Raises where a number of things is not an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: {argument} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: {argument} must be at least 1, got {value}")
