"""A whole sequence by an online learner: memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.core import Key, PyTree, check_function, split_key
from recurrax.gradients.online.learner import OnlineLearner
from recurrax.scan.unroll import time_steps


def online_value_and_grad(
    learner: OnlineLearner, loss: Callable[[Any, Any], jax.Array]
) -> Callable[..., tuple[jax.Array, PyTree]]:
    """The summed loss of a sequence and its gradient, by a learner in place of backpropagation.

        value = sum_t loss(y_t, targets_t)

    With `rtrl` the gradient is that of `jax.value_and_grad` through `rx.unroll`; with others it is
    their estimate, to be compared with it. Nothing is stored for a step, so that memory is the same
    for every T.

    Args:
      learner: of a cell. A read-out is a layer of it: `rx.stack(rx.lru(64), rx.dense(10))`.
      loss: `(y, target) -> number`, of one step.

    Returns:
      `f(params, xs, targets=None, *, state=None, key=None) -> (value, gradients)`. The key is
      consumed: split in two, for the learner and for the cell's steps.

    Raises:
      TypeError: `loss` is no function. ValueError: in use, no steps.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> from recurrax.gradients.online import online_value_and_grad
    >>> cell, xs = rx.lru(2, state=3), jnp.ones((9, 4))
    >>> params = cell.init(jax.random.key(0), xs[0])
    >>> f = online_value_and_grad(rx.rtrl(cell), lambda y, target: jnp.sum((y - target) ** 2))
    >>> value, gradients = f(params, xs, jnp.zeros((9, 2)))
    >>> gradients.d.shape
    (4, 2)
    """
    check_function("online_value_and_grad", "loss", loss)

    def value_and_grad(
        params: PyTree,
        xs: PyTree,
        targets: PyTree = None,
        *,
        state: PyTree = None,
        key: Key | None = None,
    ) -> tuple[jax.Array, PyTree]:
        steps = time_steps(xs)
        if steps == 0:
            raise ValueError(f"{learner}: xs must have at least one step, got none")
        of_learner, of_cell = (None, None) if key is None else split_key("online", key)
        keys = None if of_cell is None else split_key("online", of_cell, steps)
        first = jax.tree.map(lambda leaf: leaf[0], xs)
        memory = learner.init(params, first, state=state, key=of_learner)

        def step(memory, inputs):
            x, target, step_key = inputs
            memory, y, gradient = learner.step(params, memory, x, step_key)
            value, d_y = jax.value_and_grad(loss)(y, target)
            return memory, (value, gradient(d_y))

        def summed(carry, inputs):
            memory, total = carry
            memory, new = step(memory, inputs)
            return (memory, jax.tree.map(jnp.add, total, new)), None

        inputs = (xs, targets, keys)
        shapes = jax.eval_shape(step, memory, jax.tree.map(lambda leaf: leaf[0], inputs))[1]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (_, total), _ = jax.lax.scan(summed, (memory, zeros), inputs)
        return total

    return value_and_grad
