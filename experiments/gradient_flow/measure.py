"""One kind of network: noise forward, a gradient backward, and what the diagnostics say of it.

Every network has white noise of length 1 at each step as its input. At one end an infinitesimal
noise of length 1 in a random direction is added to the initial state; at the other, L is a random
linear function, of norm 1, of the last h.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx

INPUTS = 8


class Flow(NamedTuple):
    """Medians over the networks of one kind; of `saturated` the mean.

    Attributes:
      noise: |ds_k| for noise of length 1 in s_0, k = 1 to T, [T].
      gradient: |dL/ds_{T-k}|, k = 1 to T, [T].
      output: the part of it that belongs to the output, |dL/dh_{T-k}|, [T].
      clipped: |dL/ds_{T-k}| with the state's gradient clipped at each step, [T].
      exponent: the largest Lyapunov exponent, in nats a step.
      memory: over how many steps 1% of the gradient is left.
      saturated: the share of the sigmoids that are below 0.1 or above 0.9; NaN without sigmoids.
      warning: what `rx.gradient_warning` says.
    """

    noise: np.ndarray
    gradient: np.ndarray
    output: np.ndarray
    clipped: np.ndarray
    exponent: float
    memory: int
    saturated: float
    warning: str


def measure(cell: rx.Cell, *, steps: int, networks: int, bound: float, seed: int) -> Flow:
    """Draws the networks, and compiles and runs everything at once."""

    def one(key: jax.Array) -> tuple[Any, ...]:
        for_params, for_xs, for_loss, for_noise = jax.random.split(key, 4)
        xs = jax.random.normal(for_xs, (steps, INPUTS)) / math.sqrt(INPUTS)
        params = cell.init(for_params, xs[0])
        start = cell.initial_state(params)

        def loss(state, ys):
            direction = jax.random.normal(for_loss, ys[-1].shape)
            return jnp.vdot(direction / jnp.linalg.norm(direction), _output_of(state))

        flow = rx.gradient_flow(cell, params, xs, loss)
        bounded = rx.clip_state_gradient(cell, norm=bound)
        return (
            arriving_noise(cell, params, xs, unit_noise(for_noise, start)),
            flow.total,
            _output_of(flow.state),
            rx.gradient_flow(bounded, params, xs, loss).total,
            rx.lyapunov_spectrum(cell, params, xs, directions=1).exponents[0],
            _saturated(rx.gate_saturation(cell, params, xs)),
        )

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), networks))
    noise, total, output, clipped, exponents, saturated = found
    # Squares of what float32 just holds need float64.
    squares = sum(np.sum(np.square(leaf, dtype=np.float64), -1) for leaf in jax.tree.leaves(noise))

    def backward(norms: jax.Array) -> np.ndarray:
        return np.median(np.asarray(norms, np.float64), axis=0)[-2::-1]

    return Flow(
        noise=np.median(np.sqrt(squares), axis=0),
        gradient=backward(total),
        output=backward(output),
        clipped=backward(clipped),
        exponent=float(np.median(exponents)),
        memory=int(np.median(jax.vmap(rx.memory_length)(total))),
        saturated=float(np.mean(saturated)),
        warning=rx.gradient_warning(total),
    )


def unit_noise(key: jax.Array, state: Any) -> Any:
    """A random direction in all numbers of a state, of length 1."""
    leaves, treedef = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in drawn))
    return jax.tree.unflatten(treedef, [leaf / length for leaf in drawn])


def arriving_noise(cell: rx.Cell, params: Any, xs: jax.Array, noise: Any) -> Any:
    """ds_k for k = 1 to T: what an infinitesimal noise in s_0 has become, a tree of [T, H]."""

    def step(params, state, x, key=None):
        state, _ = cell.step(params, state, x)
        return state, state

    watched = rx.Cell(cell.init, cell.initial_state, step)

    def states(start):
        return rx.unroll(watched, params, xs, state=start)[1]

    return jax.jvp(states, (cell.initial_state(params),), (noise,))[1]


def _output_of(state: Any) -> Any:
    return getattr(state, "h", state)


def _saturated(gates: dict[str, rx.GateSaturation]) -> jax.Array:
    shares = [gate.low + gate.high for name, gate in gates.items() if name.startswith("sigmoid")]
    return jnp.mean(jnp.stack(shares)) if shares else jnp.array(jnp.nan)
