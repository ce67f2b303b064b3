"""All contestants, one after the other; each leaves its result before the next begins."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

from experiments.common.errors import Interrupted, UserError
from experiments.common.files import read_json, write_file, write_json
from experiments.common.interrupts import graceful_interrupts
from experiments.common.machine import describe, machine
from experiments.common.progress import Progress
from experiments.long_memory.options import BLOCK, Options
from experiments.long_memory.report import Result, plot_results, tables
from experiments.long_memory.tasks import make_task
from experiments.long_memory.train import train

_CHOICES = ("tasks", "lengths", "cells", "methods", "output")
"""What may be another when a run goes on: it says which contestants there are, not how they do."""


def run(options: Options) -> list[Result]:
    """Trains whoever has no result in the folder yet; prints the tables and draws the picture.

    Raises:
      UserError: the results in the folder are of other settings, or none of this experiment; MNIST
        is missing or damaged; truncated alone was asked for, of sequences too short for it.
      Interrupted: the user stopped it.
    """
    path = options.output / "results.json"
    settings = {
        name: value
        for name, value in json.loads(json.dumps(dataclasses.asdict(options), default=str)).items()
        if name not in _CHOICES
    }
    saved: dict[str, Any] = {"settings": settings, "machine": machine(), "results": []}
    done: set[str] = set()
    if path.exists():
        saved = read_json(path)
        try:
            there, done = saved["settings"], {_name(result) for result in saved["results"]}
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} holds no results of this experiment: {error!r}.") from error
        if there != settings:
            raise UserError(
                f"{path} holds results of other settings, {there}; choose another folder, or the "
                f"same settings to go on."
            )
    results: list[Result] = saved["results"]
    tasks = {contest: make_task(*contest, options.mnist) for contest in options.contests()}
    wanted = [
        ({"task": name, "length": task.test[0].shape[1], "cell": cell, "method": method}, task)
        for (name, _), task in tasks.items()
        for cell, method in itertools.product(*map(dict.fromkeys, (options.cells, options.methods)))
    ]
    # What a gradient of all steps already is need not be done twice.
    wanted = [
        (who, task)
        for who, task in wanted
        if who["method"] != "truncated" or who["length"] > options.look_back
    ]
    if not wanted:
        raise UserError(
            f"nothing is left to train: no sequence is longer than look_back, {options.look_back}, "
            f"so that truncated would be bptt."
        )
    todo = [(who, task) for who, task in wanted if _name(who) not in done]
    blocks = options.updates // min(BLOCK, options.updates)
    with graceful_interrupts() as stop, Progress(len(todo) * blocks) as progress:
        for number, (who, task) in enumerate(todo):
            tested = 0

            def count(updates: int, loss: float) -> None:
                nonlocal tested
                tested += 1
                progress.update(updates * options.batch * options.seeds, loss)

            course = train(who["cell"], who["method"], task, options, count)
            progress.update(steps=blocks - tested)
            last = course.scores[-1]
            result = Result(
                **who,
                course=list(zip(course.updates, course.scores.mean(1).tolist(), strict=True)),
                scores=last.tolist(),
                solved=task.solved is not None and bool((last >= task.solved).all()),
                guess=task.guess,
            )
            results.append(result)
            write_json(path, saved)
            progress.say(
                f"{_name(who)}: {last.mean():.1f}% right after {course.updates[-1]} updates"
            )
            if stop.requested and number + 1 < len(todo):
                raise Interrupted(
                    f"{len(results)} results are saved; the same command goes on from there."
                )
    order = {_name(who): at for at, (who, _) in enumerate(wanted)}
    shown = sorted((r for r in results if _name(r) in order), key=lambda r: order[_name(r)])
    text = tables(shown)
    print(f"\n{text}")
    write_file(options.output / "tables.md", f"{describe(saved['machine'])}\n\n{text}\n")
    plot_results(shown, options.output / "courses.png")
    print(f"\nTables, numbers and the picture are in {options.output}.")
    return shown


def _name(who: Any) -> str:
    return f"{who['task']}, T = {who['length']}, {who['cell']} by {who['method']}"
