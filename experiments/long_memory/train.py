"""One contestant: a cell and a gradient on a task, from several seeds side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrax as rx
from experiments.common.devices import data_mesh, over_rows, shard
from experiments.long_memory.gradient import make_gradient
from experiments.long_memory.options import BLOCK, Options
from experiments.long_memory.tasks import Task

_CELLS: dict[str, Callable[[int, int], rx.Cell]] = {
    "elman": lambda features, steps: rx.elman(features),
    "irnn": lambda features, steps: rx.irnn(features),
    "gru": lambda features, steps: rx.gru(features),
    "lstm": lambda features, steps: rx.lstm(
        features, forget_bias=rx.initializers.chrono(max(steps, 3))
    ),
    "lru": lambda features, steps: rx.lru(features),
}
"""By features and the steps that they have to remember, for which chrono biases are made."""


class Course(NamedTuple):
    """What came of it: `scores` [blocks, seeds], % right on the test after each block."""

    updates: list[int]
    scores: np.ndarray


def train(
    cell: str,
    method: str,
    task: Task,
    options: Options,
    progress: Callable[[int, float], None] = lambda updates, loss: None,
) -> Course:
    """Trains from seeds 0, 1, ... until all have solved the task, or `options.updates` are done.

    Adam, with gradients clipped to norm 1. A seed stands for the initial weights and for the
    examples; the contestants of one seed see the same ones.

    Args:
      progress: is called after every block with its updates and the mean loss.
    """
    steps = task.test[0].shape[1]
    cells = (_CELLS[cell](options.features, steps), rx.dense(task.outputs))
    stack, model = rx.stack(*cells), rx.serial(*cells)
    gradient = make_gradient(method, cells, task, options.look_back)
    optimizer = rx.clipped(optax.adam(options.learning_rate), global_norm=1.0)
    block = min(BLOCK, options.updates)

    def init(key: jax.Array):
        params: Any = stack.init(key, task.test[0][0, 0])
        return params, optimizer.init(params)

    def update(carry, key: jax.Array):
        params, opt_state = carry
        key_examples, key_gradient = jax.random.split(key)
        xs, targets = jax.vmap(task.draw)(jax.random.split(key_examples, options.batch))
        loss, gradients = gradient(params, xs, targets, key_gradient)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def train_block(carry, key: jax.Array, number: jax.Array):
        keys = jax.random.split(jax.random.fold_in(key, number + 1), block)
        carry, losses = jax.lax.scan(update, carry, keys)
        xs, targets = task.test
        _, ys = jax.vmap(model.apply, in_axes=(None, 0))(carry[0], xs)
        right = jax.vmap(jax.vmap(task.right))(ys, targets) * targets.weight
        return carry, losses.mean(), 100 * jnp.sum(right) / jnp.sum(targets.weight)

    mesh = data_mesh(options.seeds)

    train_blocks, begin = (over_rows(f, mesh) for f in (train_block, init))
    keys = shard(jax.vmap(jax.random.key)(jnp.arange(options.seeds)), mesh)
    carry = begin(keys)
    scores = []
    for number in range(options.updates // block):
        numbers = shard(np.full(options.seeds, number), mesh)
        carry, losses, score = train_blocks(carry, keys, numbers)
        scores.append(np.asarray(score, np.float64))
        progress(block, float(np.mean(losses)))
        if task.solved is not None and np.all(scores[-1] >= task.solved):
            break
    return Course([block * (number + 1) for number in range(len(scores))], np.stack(scores))
