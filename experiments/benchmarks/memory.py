"""`memory`: peak temporary bytes of a gradient by each method against T, as XLA has them."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.cells import WORKLOADS
from experiments.benchmarks.latch import INPUTS, PLAIN, RTRL, TRUNCATED, make_gradient, network
from experiments.benchmarks.options import CELLS, Memory
from experiments.benchmarks.plot import plot_lines
from experiments.common.errors import UserError, one_line
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.tables import milliseconds, table
from experiments.common.timing import Timing, measure

_ROUNDS = 3


def run(options: Memory) -> None:
    """Compiles, prints and saves; computes the gradients too where `time` says so.

    The loss is that of the last output, and no input is an argument: what is seen is what the loop
    itself keeps (see `latch`).

    Raises:
      UserError: no such cell; XLA's backend reports no memory.
    """
    if options.cell not in CELLS:
        raise UserError(f"--cell: there is no {options.cell!r}; there are {', '.join(CELLS)}.")
    here, lengths = machine(), options.chosen_lengths()
    print(describe(here), "\n", flush=True)
    results, lines = [], {}
    for method in options.methods:
        label = _label(method, options.look_back)
        for length in lengths:
            result: dict[str, Any] = {"label": label, "length": length}
            try:
                result |= _one(method, length, options)
            except (NotImplementedError, TypeError, ValueError) as error:
                result["absent"] = one_line(error)
            else:
                lines.setdefault(label, []).append((length, result["bytes"] / 2**20))
            results.append(result)
    text = _table(results, lengths)
    print(text)
    for result in results:
        if "absent" in result:
            print(f"without {result['label']}, T = {result['length']}: {result['absent']}")
    what = f"{options.cell}, B = {options.batch}, D = {INPUTS}, H = {options.features}"
    write_json(options.output / "memory.json", {"machine": here, "cell": what, "rows": results})
    heading = f"# Peak temporary memory of a gradient: {what}"
    write_file(options.output / "memory.md", f"{heading}\n\n{describe(here)}\n\n{text}\n")
    if lines:
        plot_lines(
            lines,
            options.output / "memory.png",
            xlabel="T",
            ylabel="peak temporary MiB of a gradient",
        )
    print(f"\nSaved {options.output / 'memory'}.json, .md and .png")


def _label(method: str, look_back: int) -> str:
    names = {PLAIN: PLAIN, TRUNCATED: f"truncated, {look_back} steps", RTRL: "RTRL"}
    return names.get(method, f"checkpoint={method}")


def _one(method: str, length: int, options: Memory) -> dict[str, Any]:
    model = network(WORKLOADS[options.cell].make(options.features))

    def drawn():
        params = model.init(jax.random.key(0), jnp.zeros(INPUTS))
        keys = jax.random.split(jax.random.key(1), options.batch)
        return params, keys, jnp.ones(options.batch)

    gradient = make_gradient(method, model, length, options.look_back)
    compiled = jax.jit(gradient).lower(*jax.eval_shape(drawn)).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise UserError(f"XLA reports no memory on {jax.default_backend()}.")
    result: dict[str, Any] = {"bytes": int(analysis.temp_size_in_bytes)}
    if options.time:
        arguments = drawn()
        call = {"gradient": lambda: jax.block_until_ready(compiled(*arguments))}
        result["time"] = measure(call, repeats=_ROUNDS)["gradient"]._asdict()
    return result


def _table(results: list[dict[str, Any]], lengths: tuple[int, ...]) -> str:
    """Methods by lengths, and the power of T with which the bytes grow at the end."""
    found = {(result["label"], result["length"]): result for result in results}

    def entry(label: str, length: int) -> str:
        result = found[label, length]
        if "absent" in result:
            return "-"
        time = f", {milliseconds(Timing(**result['time']))} ms" if "time" in result else ""
        size = result["bytes"] / 2**20
        return f"{size:.{max(0, 2 - math.floor(math.log10(size)))}f} MiB{time}"

    def growth(label: str) -> str:
        sizes = [found[label, length].get("bytes", 0) for length in lengths[-2:]]
        if len(sizes) < 2 or 0 in sizes:
            return "-"
        power = math.log(sizes[1] / sizes[0]) / math.log(lengths[-1] / lengths[-2])
        return f"T^{power:.2f}"

    labels = dict.fromkeys(label for label, _ in found)
    rows = [[label, *(entry(label, n) for n in lengths), growth(label)] for label in labels]
    return table(["gradient", *(f"T = {n}" for n in lengths), "grows as"], rows)
