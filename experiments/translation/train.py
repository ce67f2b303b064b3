"""Training: the loop, and everything that a killed run needs to go on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.common.devices import data_mesh, replicate, shard
from experiments.common.errors import Interrupted, UserError
from experiments.common.interrupts import graceful_interrupts
from experiments.common.metrics import MetricsLog
from experiments.common.progress import Progress
from experiments.common.settings import check_same_run
from experiments.translation.batches import Batches
from experiments.translation.config import TrainConfig
from experiments.translation.data import load_data
from experiments.translation.folder import ModelFolder, init_params
from experiments.translation.model import Params
from experiments.translation.step import TrainState, make_optimizer, make_step
from experiments.translation.tokenizer import train_vocabularies
from experiments.translation.validate import Validation, Validator


@dataclasses.dataclass
class Course:
    """Where a run stands, beside its state: saved with each checkpoint."""

    best_bleu: float = -1.0
    epochs_since_best: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    """Spent in training so far, over all restarts; validation and saving are part of it."""


def train(config: TrainConfig, path: Path) -> ModelFolder:
    """Trains, or goes on where an earlier call stopped; returns the folder with the model.

    Every epoch is validated and saved; Ctrl-C saves after the step that runs. On the same machine
    a run that was interrupted continues bit for bit.

    Raises:
      UserError: bad data, a folder that holds another run, a full disk, a run that was interrupted.
    """
    folder = ModelFolder(path)
    if folder.exists:
        check_same_run(path, folder.config(), config)
    data = load_data(config.data)
    if folder.exists:
        vocabularies = folder.vocabularies()
    else:
        vocabularies = train_vocabularies(
            data["train"], config.data.vocabulary, joint=config.data.joint
        )
    batches = Batches(
        data["train"],
        vocabularies,
        batch_size=config.batch_size,
        epochs=config.epochs,
        shapes=config.buckets,
        dropout=config.data.bpe_dropout,
        max_pieces=config.data.max_pieces,
        seed=config.seed,
    )
    mesh = data_mesh(config.batch_size)
    translator = folder.translator(config, vocabularies)
    if not folder.exists:  # not earlier: settings that fail above leave no folder behind
        folder.create(config, vocabularies)
    optimizer = make_optimizer(config, len(batches))
    params: Any = init_params(translator, config.seed)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)
    state = replicate(state, mesh)
    _describe(batches, params, mesh)

    checkpoints = folder.checkpoints(config)
    stream, course = batches.stream(), Course()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state = restored.state
        stream.set_state(restored.data["stream"])
        course = Course(**restored.data["course"])
        print(f"continuing at step {restored.step} of {len(batches)}")
    if int(state.step) < len(batches) and not course.stopped_early:
        step = make_step(translator, optimizer, config, mesh)
        validator = Validator(translator, vocabularies, data["val"], mesh, config.batch_size)
        with MetricsLog(path, resume_step=None if restored is None else restored.step) as log:
            _fit(config, folder, batches, mesh, course, state, stream, step, validator, log)
    return folder


def _fit(
    config: TrainConfig,
    folder: ModelFolder,
    batches: Batches,
    mesh: Mesh,
    course: Course,
    state: TrainState,
    stream: Any,
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    validator: Validator,
    log: MetricsLog,
) -> None:
    """The loop: steps, an epoch's validation, saving, stopping."""
    checkpoints = folder.checkpoints(config)
    first = int(state.step)
    begin = saved = time.monotonic()
    earlier_seconds = course.seconds

    def save(number: int, metric: float | None = None) -> None:
        course.seconds = earlier_seconds + time.monotonic() - begin
        position = {"stream": stream.get_state(), "course": dataclasses.asdict(course)}
        checkpoints.save(number, state, data=position, metric=metric)

    with (
        graceful_interrupts() as stop,
        Progress(len(batches), initial=first) as progress,
    ):
        for number in range(first + 1, len(batches) + 1):
            state, metrics = step(state, shard(next(stream), mesh))
            metrics = {name: value.item() for name, value in metrics.items()}
            if metrics["skipped"] >= 10:
                raise UserError(
                    f"training has diverged: the gradients of the last {metrics['skipped']} steps "
                    f"were not finite; try a lower learning rate than {config.learning_rate}."
                )
            log.log(number, metrics)
            progress.update(int(metrics["pieces"]), metrics["loss"])
            if number % batches.per_epoch == 0:
                with progress.paused():
                    epoch = number // batches.per_epoch
                    found = validator(state.params, example=epoch)
                    _note_validation(course, found.bleu, config.patience)
                    log.log(
                        number, {"epoch": epoch, "val_bleu": found.bleu, "val_loss": found.loss}
                    )
                    progress.say(_tell(epoch, found, course))
                    save(number, found.bleu)
                    saved = time.monotonic()
                if course.stopped_early:
                    progress.say(
                        f"no better validation BLEU for {course.epochs_since_best} epochs: done"
                    )
                    return
            elif stop.requested or time.monotonic() - saved > config.save_seconds:
                save(number)
                saved = time.monotonic()
            if stop.requested and number < len(batches):
                raise Interrupted(
                    f"stopped after step {number} of {len(batches)}, which is saved; the same "
                    f"command goes on from there."
                )


def _note_validation(course: Course, bleu: float, patience: int) -> None:
    if bleu > course.best_bleu:
        course.best_bleu, course.epochs_since_best = bleu, 0
    else:
        course.epochs_since_best += 1
    course.stopped_early = 0 < patience <= course.epochs_since_best


def _tell(epoch: int, found: Validation, course: Course) -> str:
    source, reference, translation = found.example
    return (
        f"epoch {epoch}: validation BLEU {found.bleu:.2f} (greedy; best {course.best_bleu:.2f}), "
        f"loss {found.loss:.3f} nats a piece\n"
        f"    source     {source}\n    reference  {reference}\n    greedy     {translation}"
    )


def _describe(batches: Batches, params: Params, mesh: Mesh) -> None:
    report = batches.report()
    left_out = f" ({report.too_long} too long ones left out)" if report.too_long else ""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(
        f"{report.pairs} training pairs{left_out}, {report.batches} batches an epoch in "
        f"{len(report.shapes)} shapes, {report.target_padding:.1%} of the target padding; "
        f"{size / 1e6:.2f} million parameters on {mesh.size} {jax.default_backend()} device"
        f"{'s' if mesh.size > 1 else ''}"
    )
