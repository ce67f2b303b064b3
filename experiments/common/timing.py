"""Times of several functions in turn, so that a busy moment of the machine strikes all alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

SAMPLE_SECONDS = 0.02
"""A sample of a fast function is the mean of so many calls that it lasts about this long."""
LEAST_ROUNDS = 3


class Timing(NamedTuple):
    """Milliseconds a call: the median over the rounds, the quartiles, and how many rounds."""

    median: float
    low: float
    high: float
    rounds: int


def summarise(samples: list[float]) -> Timing:
    """`samples` in seconds."""
    low, median, high = np.percentile(np.asarray(samples) * 1e3, (25, 50, 75))
    return Timing(float(median), float(low), float(high), len(samples))


def measure(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, seconds: float = math.inf
) -> dict[str, Timing]:
    """Measures every function once in each of `repeats` rounds.

    A round starts one place further on than the one before, so that nothing always follows the
    same neighbour; and each sample comes after one call that is not counted, in which the caches
    fill and the neighbour's idle threads go to sleep.

    Args:
      calls: functions without arguments, compiled already, that return when the work is done.
      seconds: after so long no further round starts, beyond the first three.
    """
    names = list(calls)
    count = {name: _calls_a_sample(calls[name]) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    try:
        for turn in range(repeats):
            if turn >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
                break
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                calls[name]()
                samples[name].append(_time(calls[name], count[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: summarise(taken) for name, taken in samples.items()}


def _calls_a_sample(call: Callable[[], Any]) -> int:
    call()
    return min(100, max(1, math.ceil(SAMPLE_SECONDS / _time(call, 1))))


def _time(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
