"""`long`: training on sequences of 100,000 steps within a budget of memory."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import resource
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import recurrax as rx
from experiments.benchmarks.latch import INPUTS, TRUNCATED, make_gradient, network, total_loss
from experiments.benchmarks.options import EPOCH, Long
from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import UserError
from experiments.common.files import read_json, write_file, write_json
from experiments.common.loop import Course, Plan, Validation, fit
from experiments.common.machine import describe, machine
from experiments.common.metrics import read_metrics
from experiments.common.plots import learning_curves
from experiments.common.settings import check_same_run
from experiments.common.tables import table

_TESTS = 32


class TrainState(NamedTuple):
    """All that an update changes."""

    step: jax.Array
    params: Any
    opt_state: Any


def run(options: Long) -> None:
    """Picks how to go back through time, trains, prints and saves a table and the curves.

    Every 10 updates the signs of 32 fresh sequences are asked for. The same command goes on where
    it was stopped.

    Raises:
      UserError: nothing fits into the budget; the folder holds another run; training diverged.
      Interrupted: the user stopped it.
    """
    path, here = options.output / "settings.json", machine()
    print(describe(here), "\n", flush=True)
    if path.exists():
        try:
            there = dataclasses.replace(options, **read_json(path))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} holds no settings of this experiment: {error}.") from error
        check_same_run(options.output, there, options)
    model = network(rx.lstm(options.features, forget_bias=rx.initializers.chrono(options.steps)))
    optimizer = rx.clipped(optax.adam(options.learning_rate), global_norm=1.0)
    key_params, key = jax.random.split(jax.random.key(options.seed))

    def update(checkpoint: Any, state: TrainState):
        method = TRUNCATED if options.truncated else checkpoint or "none"
        gradient = make_gradient(method, model, options.steps, options.truncated)
        examples = _draw(jax.random.fold_in(key, state.step), options.batch)
        loss, gradients = gradient(state.params, *examples)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        report = rx.clipping_report(opt_state)
        metrics = {
            "loss": loss,
            "tokens": jnp.asarray(options.batch * options.steps),
            "norm": report.norm_before,
            "skipped": report.skipped_in_a_row,
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), metrics

    params: Any = model.init(key_params, jnp.zeros(INPUTS))
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
    candidates = (None,) if options.truncated else (None, "sqrt", "recursive")
    try:
        plan = rx.checkpoint_for(options.budget * 2**20, update, state, candidates=candidates)
    except ValueError as error:
        raise UserError(f"--budget: {error}") from error
    compiled = _peak_bytes()
    print(plan if not options.truncated else f"truncated to {options.truncated} steps", flush=True)
    write_json(path, {n: v for n, v in dataclasses.asdict(options).items() if n != "output"})
    state, course = _train(
        options, state, jax.jit(functools.partial(update, plan.checkpoint)), model
    )
    text = _table(options, plan, course, compiled)
    print(f"\n{text}")
    write_file(options.output / "long.md", f"{describe(here)}\n\n{text}\n")
    learning_curves(
        read_metrics(options.output),
        {"loss (nats)": ["loss"]},
        options.output / "curves.png",
        title=f"T = {options.steps:,}",
    )
    print(f"\nThe table and the curves are in {options.output}.")


def _train(
    options: Long, state: TrainState, step: Any, model: rx.Cell
) -> tuple[TrainState, Course]:
    total = jax.vmap(total_loss(model, options.steps), in_axes=(None, 0, 0))
    test = _draw(jax.random.key(1_000_003), _TESTS)

    @jax.jit
    def right(params: Any) -> jax.Array:
        return 100 * jnp.mean(total(params, *test) < math.log(2))

    def validate(state: TrainState, epoch: int) -> Validation:
        found = float(right(state.params))
        return Validation(
            found, {"right": found}, lambda course: f"{found:.0f}% of fresh signs right"
        )

    checkpoints = Checkpoints(options.output / "checkpoints", keep_latest=2, keep_best=0)
    restored, course = checkpoints.restore_latest(state), Course()
    if restored is not None:
        state, course = restored.state, Course(**restored.data["course"])
        print(f"continuing at update {restored.step} of {options.updates}")
    if int(state.step) == options.updates:
        return state, course
    return fit(
        state,
        itertools.repeat(None),
        lambda state, _: step(state),
        validate,
        plan=Plan(
            steps=options.updates,
            epoch=min(EPOCH, options.updates),
            save_seconds=60.0,
            advice=f"try a lower learning rate than {options.learning_rate}",
        ),
        folder=options.output,
        checkpoints=checkpoints,
        higher_is_better=True,
        first=int(state.step),
        course=course,
    )


def _draw(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Keys of the noise [count], and signs, as many of one as of the other."""
    return jax.random.split(key, count), jnp.where(jnp.arange(count) % 2 == 0, 1.0, -1.0)


def _table(options: Long, plan: rx.gradients.CheckpointPlan, course: Course, compiled: int) -> str:
    entries = read_metrics(options.output)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    rights = [entry["right"] for entry in entries if "right" in entry]
    sizes = dict(plan.trades)
    how = f"checkpoint={plan.checkpoint}"
    if options.truncated:
        how = f"truncated to {options.truncated} steps"
    rows = [
        ["T", f"{options.steps:,}"],
        ["gradient", how],
        ["temporary arrays, MiB", f"{sizes[plan.checkpoint] / 2**20:.2f}"],
        *(
            []
            if options.truncated
            else [["without a checkpoint, MiB", f"{sizes[None] / 2**20:.2f}"]]
        ),
        [
            "peak of the process, compiled and at the end, MiB",
            f"{compiled / 2**20:.0f}, {_peak_bytes() / 2**20:.0f}",
        ],
        ["updates", f"{len(losses)} of {options.batch} sequences"],
        ["seconds an update, tests and compiling included", f"{course.seconds / len(losses):.1f}"],
        ["loss of the first and the last update", f"{losses[0]:.3f}, {losses[-1]:.3f}"],
        ["fresh signs right, first and last test, %", f"{rights[0]:.0f}, {rights[-1]:.0f}"],
    ]
    return table(["", options.output.name], rows)


def _peak_bytes() -> int:
    """Of resident memory: Python, JAX and its compiler besides the arrays."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
