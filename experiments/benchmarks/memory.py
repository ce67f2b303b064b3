"""`memory`: peak temporary bytes of a training step under each `checkpoint`, as XLA has them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import recurrax as rx
from experiments.benchmarks.cells import WORKLOADS
from experiments.benchmarks.options import CELLS, Memory
from experiments.benchmarks.plot import plot_lines
from experiments.benchmarks.report import describe, machine, milliseconds, table
from experiments.benchmarks.timing import measure
from experiments.common.errors import UserError, one_line
from experiments.common.files import write_file, write_json

PLAIN = "lax.scan"
_ROUNDS = 3


def run(options: Memory) -> None:
    """Compiles, prints and saves; runs the steps too where `time` says so.

    The loss is the mean square of the last state: that of all outputs would need them all, and so
    hide what the loop itself keeps. The inputs come time first, [T, B, D], as the loop reads them:
    else their transposed copy, which every evaluator makes, would be most of what is seen.

    Raises:
      UserError: no such cell; XLA's backend reports no memory.
    """
    if options.cell not in CELLS:
        raise UserError(f"--cell: there is no {options.cell!r}; there are {', '.join(CELLS)}.")
    cell = WORKLOADS[options.cell].make(options.features)
    steps = {PLAIN: _plain(cell)} | {
        name: _ours(cell, _parse(name)) for name in options.checkpoints
    }
    here, lengths = machine(), options.chosen_lengths()
    print(describe(here), "\n", flush=True)
    results, lines = [], {}
    for name, step in steps.items():
        label = name if name == PLAIN else f"checkpoint={name}"
        for length in lengths:
            result: dict[str, Any] = {"label": label, "length": length}
            try:
                result |= _one(step, cell, length, options)
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
    what = f"{options.cell}, B = {options.batch}, D = {options.inputs}, H = {options.features}"
    write_json(options.output / "memory.json", {"machine": here, "cell": what, "rows": results})
    heading = f"# Peak temporary memory of a training step: {what}"
    write_file(options.output / "memory.md", f"{heading}\n\n{describe(here)}\n\n{text}\n")
    if lines:
        plot_lines(
            lines,
            options.output / "memory.png",
            xlabel="T",
            ylabel="peak temporary MiB, training step",
        )
    print(f"\nSaved {options.output / 'memory'}.json, .md and .png")


def _parse(checkpoint: str) -> Any:
    """A command-line word as the argument of `rx.scan`."""
    if checkpoint.isdigit():
        return int(checkpoint)
    return None if checkpoint == "none" else checkpoint


def _ours(cell: rx.Cell, checkpoint: Any) -> Callable[..., Any]:
    return _gradient(
        lambda params, x: rx.scan(
            functools.partial(cell.step, params),
            cell.initial_state(params),
            x,
            checkpoint=checkpoint,
        )[0]
    )


def _plain(cell: rx.Cell) -> Callable[..., Any]:
    return _gradient(
        lambda params, x: jax.lax.scan(
            functools.partial(cell.step, params), cell.initial_state(params), x
        )[0]
    )


def _gradient(final_state: Callable[..., Any]) -> Callable[..., Any]:
    def loss(params, xs):
        states = jax.vmap(final_state, in_axes=(None, 1))(params, xs)
        return sum(jnp.mean(leaf**2) for leaf in jax.tree.leaves(states))

    return jax.grad(loss)


def _one(step: Callable[..., Any], cell: rx.Cell, length: int, options: Memory) -> dict[str, Any]:
    x = jax.ShapeDtypeStruct((options.inputs,), jnp.float32)
    xs = jax.ShapeDtypeStruct((length, options.batch, options.inputs), jnp.float32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), x))
    compiled = jax.jit(step).lower(params, xs).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise UserError(f"XLA reports no memory on {jax.default_backend()}.")
    result: dict[str, Any] = {"bytes": int(analysis.temp_size_in_bytes)}
    if options.time:
        params = cell.init(jax.random.key(0), x)
        values = jax.random.normal(jax.random.key(1), xs.shape)
        call = {"step": lambda: jax.block_until_ready(compiled(params, values))}
        result["time"] = measure(call, repeats=_ROUNDS)["step"]
    return result


def _table(results: list[dict[str, Any]], lengths: tuple[int, ...]) -> str:
    """Options by lengths, and the power of T with which the bytes grow at the end."""
    found = {(result["label"], result["length"]): result for result in results}

    def entry(label: str, length: int) -> str:
        result = found[label, length]
        if "absent" in result:
            return "-"
        time = f", {milliseconds(result['time'])} ms" if "time" in result else ""
        return f"{result['bytes'] / 2**20:.1f} MiB{time}"

    def growth(label: str) -> str:
        sizes = [found[label, length].get("bytes", 0) for length in lengths[-2:]]
        if len(sizes) < 2 or 0 in sizes:
            return "-"
        power = math.log(sizes[1] / sizes[0]) / math.log(lengths[-1] / lengths[-2])
        return f"T^{power:.2f}"

    labels = dict.fromkeys(label for label, _ in found)
    rows = [[label, *(entry(label, n) for n in lengths), growth(label)] for label in labels]
    return table(["training step", *(f"T = {n}" for n in lengths), "grows as"], rows)
