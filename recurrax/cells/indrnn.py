"""The independently recurrent network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
from recurrax.initializers import Initializer, glorot_uniform, per_gate

_up_to_one: Initializer = jax.nn.initializers.uniform(1.0)


class IndRNNParams(NamedTuple):
    """`w_x` [D, H], `u` [H], `b` [H]."""

    w_x: jax.Array
    u: jax.Array
    b: jax.Array


def indrnn(
    features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    w_x_init: Initializer = glorot_uniform,
    u_init: Initializer = _up_to_one,
) -> Cell:
    """The independently recurrent network, IndRNN (Li et al., 2018, arXiv:1803.04831).

        h_t = f(x_t W_x + u * h_{t-1} + b),    y_t = h_t

    A neuron sees its own past alone; neurons mix in the next layer. No matrix product is left in
    the loop. With f = relu a gradient over T steps is scaled by at most |u|^T: to keep it below a
    factor of gamma, clip u to |u| <= gamma^(1/T) after each update, as the paper does.

    Args:
      features: H, the width of the state and of the output.
      activation: f, elementwise.
      w_x_init: draws W_x [D, H].
      u_init: draws u [H]; from [0, 1) by default, so that neurons remember over many time scales.

    Raises:
      TypeError, ValueError: `features` is no positive int; `activation` no function; params or
        state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.indrnn(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> step = lambda h, x: cell.step(params, h, x)
    >>> rx.scan_report(step, cell.initial_state(params), jnp.ones((7, 3))).forward
    Products(written=1, left=0)
    """
    name = f"indrnn({features})"
    check_features(name, features)
    check_function(name, "activation", activation)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "u_init", u_init)

    def init(key: jax.Array, x) -> IndRNNParams:
        x = input_struct(name, x)
        key_x, key_u = split_key(name, key)
        return IndRNNParams(
            w_x=per_gate(w_x_init, 1)(key_x, (x.shape[0], features), x.dtype),
            u=per_gate(u_init, 1)(key_u, (features,), x.dtype),
            b=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: IndRNNParams) -> jax.Array:
        check_params(name, params, IndRNNParams, u=(features,), b=(features,))
        return jnp.zeros_like(params.b)

    def step(params: IndRNNParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        h = activation(x @ params.w_x + params.u * h + params.b)
        return h, h

    return Cell(init, initial_state, step, name)
