"""Trains a use, or goes on, and reports: scores beside a baseline, curves, examples, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from experiments.common.checkpoints import Checkpoints
from experiments.common.devices import data_mesh, replicate, shard
from experiments.common.errors import UserError
from experiments.common.files import read_file, write_file, write_json
from experiments.common.loop import Course, Plan, Validation, fit
from experiments.common.machine import machine
from experiments.common.metrics import read_metrics
from experiments.common.plots import learning_curves
from experiments.common.settings import check_same_run
from experiments.common.tables import table
from experiments.uses.batches import Batches
from experiments.uses.contract import Data, Use
from experiments.uses.settings import Settings
from experiments.uses.step import TrainState, init_state, make_optimizer, make_step


def run(kind: type[Use], settings: Settings, path: Path) -> dict[str, Any]:
    """Trains in the folder `path`, goes on there, or only reports where training is done.

    Every epoch is validated and saved; Ctrl-C saves after the step that runs. On the same machine
    a run that was interrupted continues bit for bit.

    Returns:
      Scores by split, and those of the baseline: what `results.json` holds.

    Raises:
      UserError: bad data, a folder that holds another run, a full disk, a run that was interrupted.
    """
    config = path / "config.json"
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is not a folder.")
    if config.is_file():
        check_same_run(path, _read(config), settings)
    data = kind.load(settings.data, settings.seed)
    use = kind(settings, data.about)
    if not config.is_file():  # not earlier: what fails above leaves no folder behind
        write_file(config, settings.to_json())
    checkpoints = Checkpoints(
        path / "checkpoints", keep_latest=2, keep_best=1, higher_is_better=use.higher_is_better
    )
    _train(use, data, settings, path, checkpoints)
    best = checkpoints.restore_best(
        jax.eval_shape(use.init, jax.random.key(settings.seed)), part="params"
    )
    return _report(use, best.state, data, path)


def _train(use: Use, data: Data, settings: Settings, path: Path, checkpoints: Checkpoints) -> None:
    batches = Batches(
        data.train, batch_size=settings.batch_size, shapes=settings.buckets, seed=settings.seed
    )
    steps = settings.epochs * batches.per_epoch
    optimizer = make_optimizer(settings, steps)
    state, course = init_state(use, optimizer, settings), Course()
    mesh = data_mesh(settings.batch_size)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(
        f"{use.title}: {len(data.train.xs)} examples of {settings.data or 'the generated data'} to "
        f"train on, {len(data.val.xs)} to validate, {len(data.test.xs)} to test; {size:,} "
        f"parameters on {mesh.size} {jax.default_backend()} device{'s' if mesh.size > 1 else ''}"
    )
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state, course = restored.state, Course(**restored.data["course"])
    first = int(state.step)
    if first >= steps or course.stopped_early:
        return
    if first:
        print(f"continuing at step {first} of {steps}")

    def validate(state: TrainState, epoch: int) -> Validation:
        scores = use.score(state.params, data.val)

        def tell(course: Course) -> str:
            return f"epoch {epoch}: validation {_line(scores)} (best {course.best:.4g})"

        values = {f"val_{name}": value for name, value in scores.items()}
        return Validation(scores[use.metric], values, tell)

    fit(
        replicate(state, mesh),
        (shard(batch, mesh) for batch in batches.since(first)),
        make_step(use, optimizer, mesh),
        validate,
        plan=Plan(
            steps=steps,
            epoch=batches.per_epoch,
            patience=settings.patience,
            save_seconds=settings.save_seconds,
            unit="terms of the loss",
            advice=f"try a lower learning rate than {settings.learning_rate}",
        ),
        folder=path,
        checkpoints=checkpoints,
        higher_is_better=use.higher_is_better,
        first=first,
        course=course,
    )


def _report(use: Use, params: Any, data: Data, path: Path) -> dict[str, Any]:
    val, test = (dict(use.score(params, split)) for split in (data.val, data.test))
    baseline = dict(use.baseline(data))
    rows = [
        [name, *(f"{found[name]:.4g}" if name in found else "" for found in (val, test, baseline))]
        for name in test
    ]
    print(table([use.title, "validation", "test", "baseline, test"], rows))
    for line in use.show(params, data, path / "plots"):
        print(line)
    curves = path / "plots" / "curves.png"
    panels = {"loss": ["loss"], use.metric: [f"val_{use.metric}"]}
    learning_curves(read_metrics(path), panels, curves, title=use.title)
    results = {"validation": val, "test": test, "baseline": baseline, "machine": machine()}
    write_json(path / "results.json", results)
    print(f"{curves} has the curves, {path / 'results.json'} the scores.")
    return results


def _read(config: Path) -> Settings:
    try:
        return Settings.from_json(read_file(config).decode())
    except ValueError as error:
        raise UserError(f"{config}: {error}.") from error


def _line(scores: Any) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
