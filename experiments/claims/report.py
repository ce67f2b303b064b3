"""The numbers as tables for the terminal, and as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.claims.contest import Result, blocks, verdict
from experiments.common.tables import milliseconds, table
from experiments.common.timing import Timing


def clipping_table(results: Sequence[Result]) -> str:
    """The test error, and the largest gradient that any step of any seed had."""
    rows = []
    for result in results:
        scores = _without_nan(result.run.scores)
        spread = f"{scores.min():.2g} - {scores.max():.2g}"
        largest = f"{_without_nan(result.run.norms).max():.2g}"
        rows.append([result.cell, f"{np.median(scores):.2g}", spread, largest])
    header = ["echo by plain gradient descent", "squared error", "least to greatest"]
    return table([*header, "largest norm"], rows)


def contest_table(results: Sequence[Result]) -> str:
    """Each cell on one task, beside the first."""
    first = results[0]
    lines = []
    for result in results:
        beside = "-" if result is first else verdict(list(result.decisive), list(first.decisive))
        updates = "-"
        if result.updates is not None:
            updates = _spread(result.updates)
            beside = {"lower": "sooner", "higher": "later"}.get(beside, beside)
        parameters, score = f"{result.run.parameters:,}", _spread(result.run.scores)
        lines.append([result.cell, parameters, updates, score, beside])
    header = [first.task, "parameters", "updates to learn it", first.measure, f"than {first.cell}"]
    return table(header, lines)


def speed_table(timings: Mapping[str, Timing]) -> str:
    base = next(iter(timings.values())).median
    return table(
        ["training step", "ms (quartiles)", "of the first's time"],
        [[name, milliseconds(t), f"{t.median / base:.2f}"] for name, t in timings.items()],
    )


def as_json(result: Result) -> dict[str, Any]:
    """What a result is, for `json.dumps`; what is not finite is null."""
    return {
        "task": result.task,
        "cell": result.cell,
        "parameters": result.run.parameters,
        "measure": result.measure,
        "scores": numbers(result.run.scores),
        "updates": None if result.updates is None else numbers(result.updates),
        "largest norm": numbers([_without_nan(result.run.norms).max()])[0],
        "losses": [numbers(seed) for seed in blocks(result.run.losses)[1].T],
    }


def numbers(values: Any) -> list[float | None]:
    """Four digits of each, because more are not reproduced on another machine."""
    found = (float(f"{value:.4g}") for value in np.asarray(values, np.float64))
    return [value if math.isfinite(value) else None for value in found]


def _spread(values: np.ndarray) -> str:
    """The mean and the standard deviation over the seeds, or how many have a value at all."""
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        return f"{len(finite)} of {len(values)} seeds"
    mean, deviation = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0
    digits = max(0, 2 - math.floor(math.log10(abs(mean)))) if mean else 0
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _without_nan(values: np.ndarray) -> np.ndarray:
    """What overflowed on its way, and is no number any more, was larger than any."""
    return np.where(np.isnan(values), np.inf, values)
