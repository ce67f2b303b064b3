"""The antisymmetric network: a stable differential equation, one Euler step at a time."""

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
from recurrax.initializers import Initializer, lecun_normal, per_gate


class AntisymmetricParams(NamedTuple):
    """`w_x` [D, H], `w_h` [H, H], `b` [H]; gated: `w_x` [D, 2H] and `b` [2H], order n, z."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


def antisymmetric(
    features: int,
    epsilon: float = 0.1,
    gamma: float = 0.01,
    *,
    gated: bool = False,
    w_x_init: Initializer = lecun_normal,
    w_h_init: Initializer = lecun_normal,
) -> Cell:
    """The antisymmetric network, AntisymmetricRNN (Chang et al., 2019, arXiv:1902.09689).

        A = W_h - W_h^T - gamma I
        n = tanh(x_t W_xn + h_{t-1} A + b_n)
        h_t = h_{t-1} + epsilon n,    y_t = h_t
        h_t = h_{t-1} + epsilon z * n,    z = sigmoid(x_t W_xz + h_{t-1} A + b_z)    gated=True

    Forward Euler steps of h' = tanh(x W_x + h A + b): the eigenvalues of an antisymmetric matrix
    are imaginary, so that signals neither grow nor vanish, and gamma damps what the discretisation
    adds. The gate shares A; a step has one recurrent product in both forms. A is made of W_h once,
    not at every step. The state is h, an array [H].

    Args:
      features: H, the width of the state and of the output.
      epsilon: the step size; > 0.
      gamma: the diffusion; >= 0.
      gated: whether the input gate z scales the update.
      w_x_init: draws each block of W_x; Gaussian of variance 1 / D in the paper.
      w_h_init: draws W_h [H, H]; Gaussian of variance 1 / H.

    Raises:
      TypeError, ValueError: `features` is no positive int; `epsilon` or `gamma` out of range;
        params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.antisymmetric(4, epsilon=0.01, gamma=0.1, gated=True)
    >>> cell
    antisymmetric(4, epsilon=0.01, gamma=0.1, gated=True)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    form = ", gated=True" if gated else ""
    name = f"antisymmetric({features}, epsilon={epsilon}, gamma={gamma}{form})"
    check_features(name, features)
    epsilon = check_number(name, "epsilon", epsilon)
    gamma = check_number(name, "gamma", gamma, ">= 0")
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    gates = 2 if gated else 1

    def init(key: jax.Array, x) -> AntisymmetricParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        return AntisymmetricParams(
            w_x=per_gate(w_x_init, gates)(key_x, (x.shape[0], gates * features), x.dtype),
            w_h=per_gate(w_h_init, 1)(key_h, (features, features), x.dtype),
            b=jnp.zeros(gates * features, x.dtype),
        )

    def initial_state(params: AntisymmetricParams) -> jax.Array:
        shapes = {"w_h": (features, features), "b": (gates * features,)}
        check_params(name, params, AntisymmetricParams, **shapes)
        return jnp.zeros(features, params.b.dtype)

    def step(params: AntisymmetricParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        a = params.w_h - params.w_h.T - gamma * jnp.eye(features, dtype=params.w_h.dtype)
        from_x, from_h = jnp.split(x @ params.w_x + params.b, gates), h @ a
        update = jnp.tanh(from_x[0] + from_h)
        if gated:
            update = jax.nn.sigmoid(from_x[1] + from_h) * update
        h = h + epsilon * update
        return h, h

    return Cell(init, initial_state, step, name)
