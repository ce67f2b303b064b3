"""`cells`: times of forward passes and training steps, recurrax beside its peers."""

from __future__ import annotations

import functools
from typing import Any

import jax

from experiments.benchmarks.cells import make_work, multiply_adds
from experiments.benchmarks.contenders import Absence, Contender, assemble
from experiments.benchmarks.options import Cells, Shape
from experiments.benchmarks.plot import plot_times
from experiments.benchmarks.report import ABOUT, Row, summary, times
from experiments.common.errors import UserError, warn
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.timing import measure

PASSES = ("forward", "train")
_PRODUCT = "the big product"


def run(options: Cells) -> None:
    """Measures, prints and saves; the JSON after every cell and shape.

    Raises:
      UserError: after all is saved, if a contender failed or its results differed.
    """
    cells, shapes, peers = (
        options.chosen_cells(), options.chosen_shapes(), options.chosen_peers()
    )  # fmt: skip
    here = machine()
    print(describe(here), "\n", sep="", flush=True)
    rows: list[Row] = []
    absences: dict[tuple[str, str], list[Absence]] = {}
    try:
        for cell in cells:
            for shape in shapes:
                work = make_work(cell, shape)
                contenders, absent = assemble(
                    work, peers, sharded=options.sharded, by_xla=options.by_xla
                )
                absences[cell, str(shape)] = absent
                new = _measure(cell, shape, contenders, options)
                rows += new
                _print(new, absent)
                write_json(options.output / "cells.json", as_json(rows, absences, here))
    finally:
        if rows:
            write_file(options.output / "cells.md", markdown(rows, absences, here, options))
            plot_times(rows, options.output / "cells.png")
    print("\n\n".join([ABOUT, *(summary(rows, which) for which in PASSES)]))
    print(f"\nSaved {options.output / 'cells'}.json, .md and .png")
    failures = sum(absence.failed for absent in absences.values() for absence in absent)
    if failures:
        raise UserError(f"{failures} contenders failed or computed something else; see above.")


def _measure(cell: str, shape: Shape, contenders: list[Contender], options: Cells) -> list[Row]:
    product, operations = big_product()
    rows = []
    for which in PASSES:
        calls = {c.label: getattr(c, which) for c in contenders} | {_PRODUCT: product}
        timings = measure(calls, repeats=options.repeats, seconds=options.budget())
        share = multiply_adds(cell, shape)[which] / operations
        floor = timings.pop(_PRODUCT).median * share
        rows += [
            Row(cell, str(shape), which, c.name, c.sharded, timings[c.label], floor)
            for c in contenders
        ]
    return rows


@functools.cache
def big_product() -> tuple[Any, int]:
    """A product too large to be held up by anything but arithmetic; its multiply-adds."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    return lambda: jax.block_until_ready(product(a)), size**3


def _print(rows: list[Row], absences: list[Absence]) -> None:
    cell, shape = rows[0].cell, rows[0].shape
    print(f"{cell} at B,T,D,H = {shape}: ms, quartiles, multiples of the arithmetic floor\n")
    print("\n\n".join(times(rows, cell, which) for which in PASSES), "\n", flush=True)
    for absence in absences:
        line = f"{absence.label}, {cell}: {absence.reason}"
        if absence.failed:
            warn(line)
        else:
            print(f"without {line}")
    print(flush=True)


def as_json(
    rows: list[Row], absences: dict[tuple[str, str], list[Absence]], here: dict[str, Any]
) -> dict[str, Any]:
    return {
        "machine": here,
        "unit": "milliseconds",
        "rows": [
            {name: value for name, value in row._asdict().items() if name != "timing"}
            | row.timing._asdict()
            for row in rows
        ],
        "absent": [
            {"cell": cell, "shape": shape, **absence._asdict()}
            for (cell, shape), absent in absences.items()
            for absence in absent
        ],
    }


def markdown(
    rows: list[Row],
    absences: dict[tuple[str, str], list[Absence]],
    here: dict[str, Any],
    options: Cells,
) -> str:
    """All tables, and who is missing from them."""
    cells = list(dict.fromkeys(row.cell for row in rows))
    reasons = dict.fromkeys(
        f"- {absence.label}, {cell}: {absence.reason}"
        for (cell, _), absent in absences.items()
        for absence in absent
    )
    parts = [
        "# Times beside the peers",
        describe(here),
        f"{ABOUT} The batch is split by {'XLA' if options.by_xla else 'hand'}.",
        *(summary(rows, which) for which in PASSES),
        "Below: median in ms (quartiles), and that median over the arithmetic floor. Columns are "
        "B,T,D,H.",
    ]
    for cell in cells:
        parts += [f"## {cell}", *(times(rows, cell, which) for which in PASSES)]
    if reasons:
        parts += ["## Not in the tables", "\n".join(reasons)]
    return "\n\n".join(parts) + "\n"
