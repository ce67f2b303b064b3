"""Long expressive memory."""

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


class LEMParams(NamedTuple):
    """`w_x` [D, 4H], `w_y` [H, 3H], `w_z` [H, H], `b` [4H].

    Gate order of `w_x` and `b`: step of z, step of y, z, y; `w_y` has the first three.
    """

    w_x: jax.Array
    w_y: jax.Array
    w_z: jax.Array
    b: jax.Array


class LEMState(NamedTuple):
    """`y` [H] the output, `z` [H] the memory."""

    y: jax.Array
    z: jax.Array


def lem(
    features: int,
    *,
    dt: float = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """Long expressive memory, LEM (Rusch et al., 2022, arXiv:2110.04744).

        d = dt sigmoid(x_t W_xd + y_{t-1} W_yd + b_d)
        e = dt sigmoid(x_t W_xe + y_{t-1} W_ye + b_e)
        z_t = (1 - d) * z_{t-1} + d * tanh(x_t W_xz + y_{t-1} W_yz + b_z)
        y_t = (1 - e) * y_{t-1} + e * tanh(x_t W_xy + z_t W_z + b_y)

    Two equations, each with a learned time step for each unit and moment. The product of z_t
    follows those of y_{t-1}, so that two recurrent products stay in the loop. The state is
    `LEMState(y, z)`, the output y.

    Args:
      features: H, the width of both halves of the state and of the output.
      dt: the longest step; > 0.
      w_x_init: draws each block of W_x.
      w_h_init: draws each block of W_y, and W_z.

    Raises:
      TypeError, ValueError: `features` is no positive int; `dt` no positive number; params or state
        of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lem(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> state.z.shape, ys.shape
    ((4,), (7, 4))
    """
    name = f"lem({features}, dt={dt})"
    check_features(name, features)
    dt = check_number(name, "dt", dt)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> LEMParams:
        x = input_struct(name, x)
        key_x, key_y, key_z = split_key(name, key, 3)
        return LEMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            w_y=per_gate(w_h_init, 3)(key_y, (features, 3 * features), x.dtype),
            w_z=per_gate(w_h_init, 1)(key_z, (features, features), x.dtype),
            b=jnp.zeros(4 * features, x.dtype),
        )

    def initial_state(params: LEMParams) -> LEMState:
        check_params(name, params, LEMParams, b=(4 * features,))
        zeros = jnp.zeros(features, params.b.dtype)
        return LEMState(zeros, zeros.copy())

    def step(params: LEMParams, state: LEMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        y, z = state
        x_d, x_e, x_z, x_y = jnp.split(x @ params.w_x + params.b, 4)
        y_d, y_e, y_z = jnp.split(y @ params.w_y, 3)
        d, e = dt * jax.nn.sigmoid(x_d + y_d), dt * jax.nn.sigmoid(x_e + y_e)
        z = (1 - d) * z + d * jnp.tanh(x_z + y_z)
        y = (1 - e) * y + e * jnp.tanh(x_y + z @ params.w_z)
        return LEMState(y, z), y

    return Cell(init, initial_state, step, name)
