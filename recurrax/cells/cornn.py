"""The coupled oscillatory network."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_number
from recurrax.core import (
    Cell,
    check_features,
    check_function,
    check_input,
    check_params,
    check_state,
    input_struct,
    split_key,
)
from recurrax.initializers import Initializer, glorot_uniform, orthogonal, per_gate


class CoRNNParams(NamedTuple):
    """`w_x` [D, H], `w_y` [H, H], `w_z` [H, H], `b` [H]."""

    w_x: jax.Array
    w_y: jax.Array
    w_z: jax.Array
    b: jax.Array


class CoRNNState(NamedTuple):
    """`y` [H] the oscillators' positions, the output; `z` [H] their velocities."""

    y: jax.Array
    z: jax.Array


def cornn(
    features: int,
    *,
    dt: float = 0.042,
    gamma: float = 2.7,
    epsilon: float = 4.7,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The coupled oscillatory network, coRNN (Rusch and Mishra, 2021, arXiv:2010.00951).

        a = tanh(x_t W_x + y_{t-1} W_y + z_{t-1} W_z + b)
        z_t = z_{t-1} + dt (a - gamma y_{t-1} - epsilon z_{t-1})
        y_t = y_{t-1} + dt z_t

    One step of y'' = a - gamma y - epsilon y', explicit in the damping, as in the published code,
    and with the new velocity in the position: driven, damped, coupled oscillators, whose gradients
    neither explode nor vanish for small dt. Both recurrent products are one, of [y, z]. The state
    is `CoRNNState(y, z)`, the output y.

    Args:
      features: H, the number of oscillators and the width of the output.
      dt: the step size; > 0.
      gamma: the squared frequency; > 0. It and the next are the paper's for sequential MNIST.
      epsilon: the damping; > 0.
      w_x_init: draws W_x [D, H].
      w_h_init: draws W_y and W_z [H, H].

    Raises:
      TypeError, ValueError: `features` is no positive int; `dt`, `gamma` or `epsilon` no positive
        number; params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.cornn(4, dt=0.1)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> state.z.shape, ys.shape
    ((4,), (7, 4))
    """
    name = f"cornn({features}, dt={dt}, gamma={gamma}, epsilon={epsilon})"
    check_features(name, features)
    dt = check_number(name, "dt", dt)
    gamma = check_number(name, "gamma", gamma)
    epsilon = check_number(name, "epsilon", epsilon)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> CoRNNParams:
        x = input_struct(name, x)
        key_x, key_y, key_z = split_key(name, key, 3)
        draw = per_gate(w_h_init, 1)
        return CoRNNParams(
            w_x=per_gate(w_x_init, 1)(key_x, (x.shape[0], features), x.dtype),
            w_y=draw(key_y, (features, features), x.dtype),
            w_z=draw(key_z, (features, features), x.dtype),
            b=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: CoRNNParams) -> CoRNNState:
        check_params(name, params, CoRNNParams, b=(features,))
        zeros = jnp.zeros_like(params.b)
        return CoRNNState(zeros, zeros.copy())

    def step(params: CoRNNParams, state: CoRNNState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        y, z = state
        w = jnp.concatenate([params.w_y, params.w_z])
        a = jnp.tanh(x @ params.w_x + jnp.concatenate([y, z]) @ w + params.b)
        z = z + dt * (a - gamma * y - epsilon * z)
        y = y + dt * z
        return CoRNNState(y, z), y

    return Cell(init, initial_state, step, name)
