"""Training: from a text to a folder with a model, and on from wherever an earlier run stopped."""

from __future__ import annotations

from pathlib import Path

import jax

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.folder import RunFolder
from experiments.char_lm.held_out import HeldOut
from experiments.char_lm.model import CharModel
from experiments.char_lm.sample import Sampler
from experiments.char_lm.step import TrainState, init_state, make_optimizer, make_step
from experiments.char_lm.text import Corpus, Streams, load_corpus
from experiments.common.devices import data_mesh, shard
from experiments.common.loop import Course, Plan, Validation, fit
from experiments.common.settings import check_same_run


def train(config: TrainConfig, path: Path) -> RunFolder:
    """Trains, or goes on where an earlier call stopped; returns the folder with the model.

    Every epoch is validated and saved; Ctrl-C saves after the step that runs. On the same machine
    a run that was interrupted continues bit for bit: the state of every stream is saved too.

    Raises:
      UserError: a bad text, a folder that holds another run, a full disk, an interrupted run.
    """
    folder = RunFolder(path)
    if folder.exists:
        check_same_run(path, folder.config(), config)
        corpus = folder.corpus(config)
    else:
        corpus = load_corpus(config.path, config.made)
    streams = Streams(corpus.train, config.streams, config.chunk)
    if not folder.exists:  # not earlier: a text that fails above leaves no folder behind
        folder.create(config, corpus.alphabet)
    mesh = data_mesh(config.streams)
    model = CharModel(config.model, len(corpus.alphabet))
    plan = Plan(
        steps=config.epochs * streams.per_epoch,
        epoch=streams.per_epoch,
        patience=config.patience,
        save_seconds=config.save_seconds,
        advice=f"try a lower learning rate than {config.learning_rate}",
    )
    optimizer = make_optimizer(config, plan.steps)
    state = init_state(model, optimizer, config, mesh)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(
        f"{len(corpus.train)} letters of {config.path or f'the generated {config.made}'} to train "
        f"on, {len(corpus.held_out)} held out, "
        f"{len(corpus.alphabet)} different ones; {streams.per_epoch} updates an epoch; "
        f"{size / 1e6:.2f} million parameters on {mesh.size} {jax.default_backend()} device"
        f"{'s' if mesh.size > 1 else ''}"
    )
    checkpoints, course = folder.checkpoints(config), Course()
    restored = checkpoints.restore_latest(state)
    if restored is not None:
        state, course = restored.state, Course(**restored.data["course"])
        print(f"continuing at step {restored.step} of {plan.steps}")
    first = int(state.step)
    if first < plan.steps and not course.stopped_early:
        fit(
            state,
            (shard(chunk, mesh) for chunk in streams.since(first)),
            make_step(model, optimizer, config, mesh),
            _validation(model, corpus, config),
            plan=plan,
            folder=path,
            checkpoints=checkpoints,
            higher_is_better=False,
            first=first,
            course=course,
        )
    return folder


def _validation(model: CharModel, corpus: Corpus, config: TrainConfig):
    held_out = HeldOut(model, corpus.held_out, config)
    sampler = Sampler(model, corpus.alphabet)

    def validate(state: TrainState, epoch: int) -> Validation:
        loss = held_out(state.params)
        text = sampler(state.params, jax.random.key(epoch), "", length=80)[0]

        def tell(course: Course) -> str:
            return (
                f"epoch {epoch}: held-out loss {loss.nats:.4f} nats, {loss.bits:.4f} bits a letter "
                f"(best {course.best:.4f} nats)\n    {text!r}"
            )

        return Validation(loss.nats, {"val_loss": loss.nats, "val_bits": loss.bits}, tell)

    return validate
