"""Training: from sentences to a folder with a model, and on from where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.common.devices import data_mesh, replicate, shard
from experiments.common.loop import Course, Plan, Validation, fit
from experiments.common.settings import check_same_run
from experiments.translation.batches import Batches
from experiments.translation.config import TrainConfig
from experiments.translation.data import load_data
from experiments.translation.distillation import SoftTargets, Teacher, soft_targets
from experiments.translation.folder import ModelFolder, init_params
from experiments.translation.model import Params
from experiments.translation.step import TrainState, make_optimizer, make_step
from experiments.translation.tokenizer import train_vocabularies
from experiments.translation.validate import Validator


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
    kept = path / "teacher.npz"
    asked = bool(config.teacher) and not kept.exists()
    teacher = Teacher(config.teacher, vocabularies, mesh) if asked else None
    if not folder.exists:  # not earlier: settings that fail above leave no folder behind
        folder.create(config, vocabularies)
    if teacher is not None:
        soft_targets(teacher, batches).write(kept)
    # Kept in the folder: going on needs no teacher, and does not wait for it again.
    soft = SoftTargets.read(kept) if config.teacher else None
    optimizer = make_optimizer(config, len(batches))
    params: Any = init_params(translator, config.seed)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)
    state = replicate(state, mesh)
    _describe(config, batches, params, mesh)

    checkpoints = folder.checkpoints(config)
    stream, course = batches.stream(), Course()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state = restored.state
        stream.set_state(restored.data["stream"])
        course = Course(**restored.data["course"])
        print(f"continuing at step {restored.step} of {len(batches)}")
    first = int(state.step)
    if first < len(batches) and not course.stopped_early:
        fit(
            state,
            (shard(soft.attached(batch) if soft else batch, mesh) for batch in stream),
            make_step(translator, optimizer, config, mesh),
            _validation(Validator(translator, vocabularies, data["val"], mesh, config.batch_size)),
            plan=Plan(
                steps=len(batches),
                epoch=batches.per_epoch,
                patience=config.patience,
                save_seconds=config.save_seconds,
                advice=f"try a lower learning rate than {config.learning_rate}",
            ),
            folder=path,
            checkpoints=checkpoints,
            higher_is_better=True,
            first=first,
            course=course,
            position=stream.get_state,
        )
    return folder


def _validation(validator: Validator) -> Callable[[TrainState, int], Validation]:
    def validate(state: TrainState, epoch: int) -> Validation:
        found = validator(state.params, example=epoch)
        source, reference, translation = found.example

        def tell(course: Course) -> str:
            return (
                f"epoch {epoch}: validation BLEU {found.bleu:.2f} (greedy; best "
                f"{course.best:.2f}), loss {found.loss:.3f} nats a piece\n"
                f"    source     {source}\n    reference  {reference}\n    greedy     {translation}"
            )

        return Validation(found.bleu, {"val_bleu": found.bleu, "val_loss": found.loss}, tell)

    return validate


def _describe(config: TrainConfig, batches: Batches, params: Params, mesh: Mesh) -> None:
    report = batches.report()
    left_out = f" ({report.too_long} too long ones left out)" if report.too_long else ""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(
        f"{report.pairs} training pairs of {config.data.path or 'the generated corpus'}{left_out}, "
        f"{report.batches} batches an epoch in "
        f"{len(report.shapes)} shapes, {report.target_padding:.1%} of the target padding; "
        f"{size / 1e6:.2f} million parameters on {mesh.size} {jax.default_backend()} device"
        f"{'s' if mesh.size > 1 else ''}"
    )
