"""Measures all networks, prints the table, and saves it with the numbers and the figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_json, write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.progress import Progress
from experiments.common.settings import check_same_run
from experiments.common.tables import table
from experiments.gradient_flow.measure import Flow, measure
from experiments.gradient_flow.networks import networks
from experiments.gradient_flow.options import Options
from experiments.gradient_flow.pictures import plot_flows


def run(options: Options) -> None:
    """Leaves gradient_flow.md, .json and .png in the folder.

    The .json is written after every kind of network; a run that was stopped goes on from there.

    Raises:
      UserError: the folder holds numbers of other settings.
    """
    here = machine()
    print(describe(here), "\n", flush=True)
    path = options.output / "gradient_flow"
    settings = options.settings()
    cells = networks(options.features, options.steps)
    found = resumed(path.with_suffix(".json"), options)
    with Progress(len(cells), initial=len(found)) as progress:
        for name, cell in cells.items():
            if name not in found:
                found[name] = measure(
                    cell,
                    steps=options.steps,
                    networks=options.networks,
                    bound=options.bound,
                    seed=options.seed,
                )
                numbers = {name: as_json(flow) for name, flow in found.items()}
                saved = {"machine": here, "settings": settings, "networks": numbers}
                write_json(path.with_suffix(".json"), saved)
                progress.update()
    text = f"{flow_table(found, options.bound)}\n\n{warnings(found)}"
    print(text)
    write_file(path.with_suffix(".md"), f"{describe(here)}\n\n{text}\n")
    plot_flows(found, options.bound, path.with_suffix(".png"))
    print(f"\nSaved {path}.md, .json and .png")


def resumed(path: Path, options: Options) -> dict[str, Flow]:
    """What an earlier run with the same settings has measured.

    Raises:
      UserError: its settings were others.
    """
    if not path.exists():
        return {}
    saved = read_json(path)
    try:
        check_same_run(path, dataclasses.replace(options, **saved["settings"]), options)
        return {name: from_json(numbers) for name, numbers in saved["networks"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no results of this experiment: {error!r}.") from error


def flow_table(found: Mapping[str, Flow], bound: float) -> str:
    """What arrives after some distances, and the diagnostics."""
    steps = len(next(iter(found.values())).noise)
    distances = sorted({max(1, steps // 20), max(1, steps // 4), steps})
    header = ["network", *(f"noise, {k}" for k in distances)]
    header += [*(f"gradient, {k}" for k in distances), f"of h alone, {steps}"]
    header += [f"clipped to {bound:g}, {steps}", "exponent", "memory", "saturated"]
    rows = []
    for name, flow in found.items():
        ends = [flow.noise[k - 1] for k in distances] + [flow.gradient[k - 1] for k in distances]
        ends += [flow.output[-1], flow.clipped[-1]]
        memory = f"> {steps}" if flow.memory >= steps else str(flow.memory)
        share = "-" if math.isnan(flow.saturated) else f"{flow.saturated:.0%}"
        rows.append([name, *(f"{x:.2g}" for x in ends), f"{flow.exponent:.3f}", memory, share])
    return table(header, rows)


def warnings(found: Mapping[str, Flow]) -> str:
    """What a training loop would print, a line a network."""
    return "\n".join(f"- {name}: {flow.warning or 'no warning'}" for name, flow in found.items())


def as_json(flow: Flow) -> dict[str, Any]:
    """Plain values; null for what is no number."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [plain(float(x)) for x in value]
        return value if isinstance(value, str) or math.isfinite(value) else None

    return {field: plain(value) for field, value in flow._asdict().items()}


def from_json(numbers: Mapping[str, Any]) -> Flow:
    """The inverse of `as_json`, with NaN for null."""

    def number(value: Any) -> Any:
        if isinstance(value, list):
            return np.array([number(x) for x in value])
        return math.nan if value is None else value

    return Flow(**{field: number(value) for field, value in numbers.items()})
