"""How far back a gradient reaches in a network that has learnt nothing yet.

L is a random linear function, of norm 1, of the last output. What is measured is |dL/ds_{T-k}|, s
being what one step hands to the next (h; of an LSTM c and h), and the part of it that belongs to
the output, |dL/dh_{T-k}|: medians over networks, each with an input sequence of its own, white
noise of length 1 at each step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx

INPUTS = 8


class Reach(NamedTuple):
    """Medians over the networks for k = 1 to T, [T] each."""

    state: np.ndarray
    output: np.ndarray


def variants(features: int, longest: int) -> dict[str, rx.Cell]:
    """The networks to compare, by the names that they have in tables and plots.

    Args:
      longest: what the chrono biases are made for.
    """
    chrono = rx.initializers.chrono(longest)
    return {
        "Elman, Gaussian, radius 0.9": gaussian_elman(features, 0.9),
        "Elman, Gaussian, radius 2": gaussian_elman(features, 2.0),
        "Elman, orthogonal": rx.elman(features),
        "IRNN": rx.irnn(features),
        "GRU": rx.gru(features),
        "GRU, chrono": chrono_gru(features, longest),
        "LSTM of 1997": rx.lstm_1997(features),
        "LSTM, bias 1": rx.lstm(features),
        "LSTM, chrono": rx.lstm(features, forget_bias=chrono),
    }


def gaussian_elman(features: int, radius: float) -> rx.Cell:
    """An Elman network whose eigenvalues fill, in the limit of many units, a disc of this radius.

    (Girko's circular law; the textbooks' initialisation before orthogonal matrices.)
    """
    return rx.elman(features, w_h_init=jax.nn.initializers.normal(radius / math.sqrt(features)))


def chrono_gru(features: int, longest: int) -> rx.Cell:
    """A GRU whose update gate, which keeps the state where it is 1, starts with chrono biases."""
    cell = rx.gru(features)

    def init(key: jax.Array, x) -> rx.GRUParams:
        key_cell, key_b = jax.random.split(key)
        params = cell.init(key_cell, x)
        bias = rx.initializers.chrono(longest)(key_b, (features,), params.b.dtype)
        return params._replace(b=params.b.at[features : 2 * features].set(bias))

    return dataclasses.replace(cell, init=init)


def reach(cell: rx.Cell, *, steps: int, networks: int, seed: int) -> Reach:
    """The medians for k = 1 to `steps`."""
    nudged = _nudged(cell)

    def gradients(key: jax.Array):
        for_params, for_xs, for_loss = jax.random.split(key, 3)
        xs = jax.random.normal(for_xs, (steps + 1, INPUTS)) / math.sqrt(INPUTS)
        params = nudged.init(for_params, xs[0])
        state = nudged.initial_state(params)
        zeros = jax.tree.map(lambda leaf: jnp.zeros((steps + 1, *leaf.shape), leaf.dtype), state)

        def loss(nudges):
            h = rx.unroll(nudged, params, (xs, nudges))[1][-1]
            direction = jax.random.normal(for_loss, h.shape)
            return jnp.vdot(direction / jnp.linalg.norm(direction), h)

        return jax.grad(loss)(zeros)

    found = jax.jit(jax.vmap(gradients))(jax.random.split(jax.random.key(seed), networks))
    # The last nudge comes after the last output. From the last but one backward: k = 1, 2, ...
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[:, -2::-1], found)
    leaves = jax.tree.leaves(found)
    h = getattr(found, "h", leaves[0])
    return Reach(_median_norm(leaves), _median_norm([h]))


def _nudged(cell: rx.Cell) -> rx.Cell:
    """`cell` with something added to its state after each step: its gradient is that of the state.

    A step's input is the pair of x and what is added.
    """

    def step(params, state, inputs, key=None):
        x, nudge = inputs
        state, y = cell.step(params, state, x)
        return jax.tree.map(jnp.add, state, nudge), y

    return dataclasses.replace(cell, step=step)


def _median_norm(leaves: list[np.ndarray]) -> np.ndarray:
    """Over networks, [N, T, H] -> [T]; squares of what float32 just holds need float64."""
    squares = sum(np.sum(np.square(leaf), axis=-1) for leaf in leaves)
    return np.median(np.sqrt(squares), axis=0)
