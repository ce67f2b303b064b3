"""`compile`: time to trace and to compile a training step, recurrax beside plain lax.scan."""

from __future__ import annotations

import time
from typing import Any

import jax

from experiments.benchmarks.cells import make_work
from experiments.benchmarks.contenders import ours, training_step
from experiments.benchmarks.options import Compile, parse_shape
from experiments.benchmarks.peers import Peer, plain
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.tables import milliseconds, table
from experiments.common.timing import Timing, summarise

STAGES = ("trace", "compile", "total")


def run(options: Compile) -> None:
    """Measures, prints and saves."""
    # A compiled step kept from an earlier run would be read back instead of compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    shape = parse_shape(options.shape)
    repeats = min(options.repeats, 3) if options.quick else options.repeats
    here, rows, results = machine(), [], []
    print(describe(here), "\n", flush=True)
    for cell in options.chosen_cells():
        work = make_work(cell, shape)
        peers = {"recurrax": ours(work), "lax.scan": plain.peer(work)}
        found = _measure(peers, work.params, work.xs, repeats)
        ratio = found["recurrax"]["total"].median / found["lax.scan"]["total"].median
        for name, stages in found.items():
            shown = f"{ratio:.2f}" if name == "recurrax" else ""
            rows.append([f"{cell}, {name}", *(milliseconds(stages[s]) for s in STAGES), shown])
            results.append(
                {"cell": cell, "shape": str(shape), "name": name}
                | {stage: stages[stage]._asdict() for stage in STAGES}
            )
    text = table(["training step, ms (quartiles)", *STAGES, "total / lax.scan's"], rows)
    print(text)
    write_json(options.output / "compile.json", {"machine": here, "rows": results})
    heading = f"# Time to trace and compile, B,T,D,H = {shape}"
    write_file(options.output / "compile.md", f"{heading}\n\n{describe(here)}\n\n{text}\n")
    print(f"\nSaved {options.output / 'compile'}.json and .md")


def _measure(
    peers: dict[str, Peer], params: Any, xs: jax.Array, repeats: int
) -> dict[str, dict[str, Timing]]:
    """In turn, `repeats` times after one that does not count, each from empty caches."""
    samples = {name: {stage: [] for stage in STAGES} for name in peers}
    for turn in range(repeats + 1):
        for name, peer in peers.items():
            jax.clear_caches()
            start = time.perf_counter()
            lowered = jax.jit(training_step(peer)).lower(params, xs)
            traced = time.perf_counter()
            lowered.compile()
            end = time.perf_counter()
            if turn:
                taken = samples[name]
                taken["trace"].append(traced - start)
                taken["compile"].append(end - traced)
                taken["total"].append(end - start)
    return {
        name: {stage: summarise(taken) for stage, taken in stages.items()}
        for name, stages in samples.items()
    }
