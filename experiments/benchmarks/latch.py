"""One bit over T steps, and its gradient by every method.

The first input shows a sign, noise follows, and after the last step the sign is due (latching, the
task of Bengio et al., 1994). Every step draws its own input from its number, so that what a program
stores is what its method stores: inputs given as an array, and the copy of them that nested loops
make under `vmap`, would be most of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import recurrax as rx

INPUTS, LOUD, NOISE = 1, 10.0, 0.1
PLAIN, TRUNCATED, RTRL = "lax.scan", "truncated", "rtrl"

Gradient = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""(params, keys [B] of the noise, signs [B]) -> the mean loss, and its gradient or a part of it."""


def network(cell: rx.Cell) -> rx.Cell:
    """The cell below one linear unit, whose output is the logit of the sign."""
    return rx.stack(cell, rx.dense(1))


def draw(key: jax.Array, t: jax.Array, sign: jax.Array) -> jax.Array:
    """x_t [INPUTS]: the sign, loud, at t = 0, and noise later."""
    noise = NOISE * jax.random.normal(jax.random.fold_in(key, t), (INPUTS,))
    return jnp.where(t == 0, LOUD * sign, noise)


def total_loss(
    model: rx.Cell, steps: int, scan: Callable[..., Any] = jax.lax.scan
) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """(params, key, sign) -> log(1 + exp(-sign y_T)) of one sequence; below log 2 it is right."""

    def total(params: Any, key: jax.Array, sign: jax.Array) -> jax.Array:
        # Summed in the loop: outputs of all steps would be kept whatever the method.
        def step(carry, t):
            state, total = carry
            state, y = model.step(params, state, draw(key, t, sign))
            return (state, total + loss_at(y, t, sign, steps)), None

        carry = (model.initial_state(params), jnp.zeros(()))
        return scan(step, carry, jnp.arange(steps))[0][1]

    return total


def loss_at(y: jax.Array, t: jax.Array, sign: jax.Array, steps: int) -> jax.Array:
    """That of step t, 0 but for the last."""
    return jnp.where(t == steps - 1, jax.nn.softplus(-sign * y[0]), 0.0)


def make_gradient(method: str, model: rx.Cell, steps: int, look_back: int = 100) -> Gradient:
    """The gradient of the mean of log(1 + exp(-sign y_T)) over the batch.

    Args:
      method: "lax.scan" for plain JAX; "none", "sqrt", "recursive" or a number of steps for
        `rx.scan` with this `checkpoint`; "truncated" for `rx.truncated_bptt`, whose gradient is
        only that of the last `look_back` steps; "rtrl" for `rx.rtrl`.
      model: see `network`.
      steps: T.

    Raises:
      ValueError: `rx.scan` has no such `checkpoint`.
    """
    if method == RTRL:
        return _forward(model, steps)
    if method == TRUNCATED:
        return _truncated(model, steps, look_back)
    scan: Callable[..., Any] = jax.lax.scan
    if method != PLAIN:
        checkpoint = int(method) if method.isdigit() else None if method == "none" else method
        scan = functools.partial(rx.scan, checkpoint=checkpoint)
    each = jax.vmap(total_loss(model, steps, scan), in_axes=(None, 0, 0))
    return jax.value_and_grad(lambda params, keys, signs: jnp.mean(each(params, keys, signs)))


def _forward(model: rx.Cell, steps: int) -> Gradient:
    def one(params: Any, key: jax.Array, sign: jax.Array):
        def drawn(params, state, t, key_step=None):
            return model.step(params, state, draw(key, t, sign))

        learner = rx.rtrl(rx.Cell(model.init, model.initial_state, drawn))

        # No array of all step numbers, as a scan would have it: nothing here grows with T.
        def step(t, carry):
            memory, total = carry
            memory, y, gradient = learner.step(params, memory, t)
            value, d_y = jax.value_and_grad(loss_at)(y, t, sign, steps)
            return memory, jax.tree.map(jnp.add, total, (value, gradient(d_y)))

        zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        memory = learner.init(params, jnp.zeros((), jnp.int32))
        return jax.lax.fori_loop(0, steps, step, (memory, zeros))[1]

    def gradient(params: Any, keys: jax.Array, signs: jax.Array):
        found = jax.vmap(one, in_axes=(None, 0, 0))(params, keys, signs)
        return jax.tree.map(lambda leaf: leaf.mean(0), found)

    return gradient


def _truncated(model: rx.Cell, steps: int, look_back: int) -> Gradient:
    """Chunks of `look_back` steps; what is over at the beginning is run without a gradient."""

    def run(params: Any, ts: jax.Array, *, state: Any, keys: jax.Array, signs: jax.Array):
        def one(state, key, sign):
            xs = jax.vmap(draw, in_axes=(None, 0, None))(key, ts, sign)
            return rx.unroll(model, params, xs, state=state)

        return jax.vmap(one)(state, keys, signs)

    def loss(params: Any, ys: jax.Array, targets: Any) -> jax.Array:
        ts, signs = targets
        return jnp.mean(
            jax.vmap(loss_at, in_axes=(0, None, 0, None))(ys[:, -1], ts[-1], signs, steps)
        )

    bptt = rx.truncated_bptt(run, loss)
    size = min(look_back, steps)
    over = steps % size

    def gradient(params: Any, keys: jax.Array, signs: jax.Array):
        state = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(signs), *leaf.shape)),
            model.initial_state(params),
        )
        if over:
            state, _ = run(params, jnp.arange(over), state=state, keys=keys, signs=signs)

        def chunk(number, carry):
            memory, total = carry
            ts = over + number * size + jnp.arange(size)
            memory, found = bptt.step(params, memory, ts, (ts, signs), keys=keys, signs=signs)
            return memory, jax.tree.map(jnp.add, total, found)

        zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.fori_loop(0, steps // size, chunk, (rx.TruncatedState(state), zeros))[1]

    return gradient
