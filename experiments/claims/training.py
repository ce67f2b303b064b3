"""Training the same network from several seeds at once: one more axis, vmapped.

Seeds have nothing to say to each other, so each device trains some of them and never waits for
another, as it would for the gradients of a batch's other half. A seed stands for the initial
weights and for the examples: two cells that train from one seed see the same examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrax as rx
from experiments.claims.options import Schedule
from experiments.claims.tasks import Task
from experiments.common.devices import data_mesh, over_rows, shard
from experiments.common.progress import Progress


class Run(NamedTuple):
    """What came of it. N is the number of parameters.

    `losses` and `norms`, of the gradient before any clipping, are [steps, seeds]; `scores` [seeds].
    """

    parameters: int
    losses: np.ndarray
    norms: np.ndarray
    scores: np.ndarray


class Trainer(NamedTuple):
    """Functions of one seed.

    `init(key) -> (params, opt_state)`; `step(params, opt_state, key) -> (params, opt_state, loss,
    norm)`, with the examples and the gradient's norm of this step; `test(params) -> score`.
    """

    init: Callable[..., Any]
    step: Callable[..., Any]
    test: Callable[..., Any]


def trainer(
    cell: rx.Cell, task: Task, optimizer: optax.GradientTransformationExtraArgs, batch: int
) -> Trainer:
    """The cell below a linear layer, learning the task.

    Args:
      optimizer: an `rx.clipped` one, which measures the norm.
    """
    model = rx.serial(cell, rx.dense(task.outputs))
    outputs = jax.vmap(lambda params, xs: model.apply(params, xs)[1], in_axes=(None, 0))

    def init(key: jax.Array):
        params = model.init(key, task.test[0][0])
        return params, optimizer.init(params)

    def step(params, opt_state, key: jax.Array):
        xs, targets = jax.vmap(task.example)(jax.random.split(key, batch))

        def loss(params):
            return jnp.mean(jax.vmap(task.loss)(outputs(params, xs), targets))

        value, gradients = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        norm = rx.clipping_report(opt_state).norm_before
        return optax.apply_updates(params, updates), opt_state, value, norm

    def test(params):
        xs, targets = task.test
        return task.score(outputs(params, xs), xs, targets)

    return Trainer(init, step, test)


def train(
    cell: rx.Cell,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    task: Task,
    progress: Progress,
) -> Run:
    """Trains from seeds 0, 1, ... and tests."""
    mesh, one = data_mesh(schedule.seeds), trainer(cell, task, optimizer, schedule.batch)
    init, step, test, at_step = (over_rows(f, mesh) for f in (*one, jax.random.fold_in))
    keys = shard(jax.vmap(jax.random.key)(jnp.arange(schedule.seeds)), mesh)
    params, opt_state = init(keys)
    losses, norms = [], []
    tokens = schedule.seeds * schedule.batch * task.test[0].shape[1]
    for number in range(schedule.steps):
        # From 1 on, for the initial weights took the seed's own key.
        numbers = shard(np.full(schedule.seeds, number + 1), mesh)
        params, opt_state, loss, norm = step(params, opt_state, at_step(keys, numbers))
        losses.append(loss)
        norms.append(norm)
        progress.update(tokens)
    parameters = sum(leaf.size // schedule.seeds for leaf in jax.tree.leaves(params))
    losses, norms, scores = jax.device_get((losses, norms, test(params)))
    return Run(parameters, np.stack(losses), np.stack(norms), scores)
