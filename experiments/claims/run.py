"""The chosen claims, one after the other; each leaves its files before the next begins."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.claims import report
from experiments.claims.contest import clipping, entry, run_clipping, run_contest
from experiments.claims.options import FULL, QUICK, Options, Size
from experiments.claims.pictures import plot_curves
from experiments.claims.speed import speeds
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.progress import Progress


class Outcome(NamedTuple):
    """The numbers for JSON, the table, and what draws the picture, where there is one."""

    numbers: Any
    table: str
    draw: Callable[[Path], None] | None = None


def run(options: Options) -> None:
    """Measures and prints; writes NAME.json, NAME.md and NAME.png of each claim into the folder."""
    chosen, size = options.chosen(), QUICK if options.quick else FULL
    here = machine()
    print(describe(here), flush=True)
    for claim in chosen:
        found = _CLAIMS[claim](size)
        print(f"\n{found.table}", flush=True)
        path = options.output / claim
        saved = {"machine": here, "size": size._asdict(), "results": found.numbers}
        write_json(path.with_suffix(".json"), saved)
        write_file(path.with_suffix(".md"), f"{describe(here)}\n\n{found.table}\n")
        if found.draw is not None:
            found.draw(path.with_suffix(".png"))
    print(f"\nTables, numbers and pictures are in {options.output}.")


def _clipping(size: Size) -> Outcome:
    with Progress(size.clipping.steps * len(clipping(size))) as progress:
        results = run_clipping(size, progress)
    numbers = [report.as_json(result) for result in results]
    return Outcome(numbers, report.clipping_table(results), functools.partial(plot_curves, results))


def _contest(name: str, size: Size) -> Outcome:
    chosen = entry(name, size)
    with Progress(len(chosen.cells) * chosen.schedule.steps) as progress:
        results = run_contest(name, chosen, progress)
    numbers = [report.as_json(result) for result in results]
    return Outcome(numbers, report.contest_table(results), functools.partial(plot_curves, results))


def _speed(size: Size) -> Outcome:
    timings = speeds(entry("characters", size), size.rounds)
    return Outcome({name: t._asdict() for name, t in timings.items()}, report.speed_table(timings))


_CLAIMS: dict[str, Callable[[Size], Outcome]] = {
    "clipping": _clipping,
    "adding": functools.partial(_contest, "adding"),
    "counting": functools.partial(_contest, "counting"),
    "timing": functools.partial(_contest, "timing"),
    "characters": functools.partial(_contest, "characters"),
    "speed": _speed,
}
