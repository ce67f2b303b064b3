"""Splits of data that come without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.common.errors import UserError


def split(
    items: Sequence[Any], seed: int, *, val: float = 0.1, test: float = 0.1
) -> tuple[list[Any], list[Any], list[Any]]:
    """The items in a random order of their own for each seed, as train, validation and test.

    Raises:
      UserError: one of them would be empty.
    """
    order = np.random.default_rng([seed, 17]).permutation(len(items))
    counts = [round(share * len(items)) for share in (1 - val - test, 1 - test)]
    train, validation, tests = np.split(order, counts)
    if not all(map(len, (train, validation, tests))):
        raise UserError(f"{len(items)} examples are too few to be split in three.")
    return tuple([items[i] for i in part] for part in (train, validation, tests))  # type: ignore[return-value]
