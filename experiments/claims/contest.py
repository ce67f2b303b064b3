"""Cells beside each other: the same tasks, schedule, optimizer, seeds and examples for all.

`clipping` is the contest of an Elman network that explodes with two that do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

import recurrax as rx
from experiments.claims.options import Schedule, Size
from experiments.claims.tasks import Task, adding, characters, counting, echo, timing
from experiments.claims.training import Run, train, trainer
from experiments.common.progress import Progress
from experiments.gradient_flow.networks import gaussian_elman

BLOCK = 50
"""The loss counts as what it is on the mean of so many updates."""


class Result(NamedTuple):
    """One cell on one task.

    `updates` [seeds]: how many it took until the loss was below `task.solved`, inf where it never
    was; None for a task without.
    """

    task: str
    cell: str
    measure: str
    run: Run
    updates: np.ndarray | None

    @property
    def decisive(self) -> np.ndarray:
        """What cells are compared by, [seeds]: time to learn, or how well where there is no end."""
        return self.run.scores if self.updates is None else self.updates


class Entry(NamedTuple):
    """A task, the cells that it is set to, by name, and how they are trained."""

    task: Task
    cells: Mapping[str, rx.Cell]
    optimizer: optax.GradientTransformationExtraArgs
    schedule: Schedule


def entry(name: str, size: Size) -> Entry:
    """A task of the contest: "adding", "counting", "timing" or "characters".

    Adam at one rate for all cells, with gradients clipped to norm 1.
    """

    def adam(rate: float):
        return rx.clipped(optax.adam(rate), global_norm=1.0)

    match name:
        case "adding":
            return Entry(adding(size.adding_steps), four(32), adam(1e-2), size.adding)
        case "counting":
            task = counting(size.counting_longest, size.counting_test)
            return Entry(task, four(8), adam(1e-2), size.counting)
        case "timing":
            task = timing(size.timing_shortest, size.timing_intervals)
            return Entry(task, four(16), adam(1e-2), size.timing)
        case "characters":
            task = characters(size.window, size.sentences)
            return Entry(task, same_text_cells(task, size), adam(5e-3), size.text)
    raise ValueError(f"entry: there is no task {name!r}")


def four(features: int) -> dict[str, rx.Cell]:
    """The LSTM and those that are to be judged beside it, of one width."""
    return {
        "LSTM": rx.lstm(features),
        "peephole": rx.peephole_lstm(features),
        "CIFG": rx.coupled_lstm(features),
        "GRU": rx.gru(features),
    }


def same_text_cells(task: Task, size: Size) -> dict[str, rx.Cell]:
    """The LSTM, the GRU as wide, and the GRU with as many parameters as it, nearly."""
    features = size.text_features
    wanted = parameters(rx.lstm(features), task)
    widths = range(features, 2 * features)
    wider = min(widths, key=lambda width: abs(parameters(rx.gru(width), task) - wanted))
    return {
        f"LSTM {features}": rx.lstm(features),
        f"GRU {features}": rx.gru(features),
        f"GRU {wider}": rx.gru(wider),
    }


def parameters(cell: rx.Cell, task: Task) -> int:
    """How many the network has, its linear layer too."""
    one = trainer(cell, task, rx.clipped(optax.sgd(1.0), global_norm=1.0), batch=1)
    params, _ = jax.eval_shape(one.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def clipping(size: Size) -> dict[str, tuple[rx.Cell, optax.GradientTransformationExtraArgs]]:
    """An exploding network without and with clipping, and one that cannot explode, without.

    Plain gradient descent: Adam's steps do not depend on how long the gradient is.
    """
    exploding = gaussian_elman(size.echo_features, 2.0)
    unclipped, clipped = (
        rx.clipped(optax.sgd(0.1), global_norm=bound) for bound in (math.inf, 1.0)
    )
    return {
        "Gaussian, radius 2": (exploding, unclipped),
        "Gaussian, radius 2, clipped to 1": (exploding, clipped),
        "orthogonal": (rx.elman(size.echo_features), unclipped),
    }


def run_clipping(size: Size, progress: Progress) -> list[Result]:
    task = echo(size.echo_steps, delay=3)
    return [
        Result("echo", name, task.measure, train(*pair, size.clipping, task, progress), None)
        for name, pair in clipping(size).items()
    ]


def run_contest(name: str, chosen: Entry, progress: Progress) -> list[Result]:
    task, cells, optimizer, schedule = chosen
    results = []
    for cell_name, cell in cells.items():
        run = train(cell, optimizer, schedule, task, progress)
        updates = None if task.solved is None else updates_until(run.losses, task.solved)
        results.append(Result(name, cell_name, task.measure, run, updates))
    return results


def updates_until(losses: np.ndarray, solved: float) -> np.ndarray:
    """[steps, seeds] -> [seeds]: the end of the first block whose mean is below `solved`."""
    ends, means = blocks(losses)
    below = means < solved
    return np.where(np.any(below, axis=0), ends[np.argmax(below, axis=0)], np.inf)


def blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[steps, seeds] -> where each block ends, [blocks], and its means, [blocks, seeds].

    A block has `BLOCK` updates, or all where they are fewer; what is over at the end is left out.
    """
    size = min(BLOCK, len(values))
    ends = np.arange(size, len(values) + 1, size)
    return ends, values[: ends[-1]].reshape(-1, size, values.shape[1]).mean(axis=1)


def verdict(these: Sequence[float], those: Sequence[float]) -> str:
    """Whether two cells differ: "lower", "higher" or "no clear difference".

    They do where every seed of the one lies beyond every seed of the other. With four seeds each,
    cells that do not differ look so once in 35 times (two of the 70 ways to mix their ranks).
    """
    if max(these) < min(those):
        return "lower"
    return "higher" if min(these) > max(those) else "no clear difference"
