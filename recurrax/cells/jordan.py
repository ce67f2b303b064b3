"""The Jordan network: the output is fed back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count
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


class JordanParams(NamedTuple):
    """`w_x` [D, H], `w_y` [O, H], `b` [H]; `w_o` [H, O], `b_o` [O]."""

    w_x: jax.Array
    w_y: jax.Array
    b: jax.Array
    w_o: jax.Array
    b_o: jax.Array


def jordan(
    features: int,
    outputs: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    output_activation: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid,
    w_x_init: Initializer = glorot_uniform,
    w_y_init: Initializer = glorot_uniform,
    w_o_init: Initializer = glorot_uniform,
) -> Cell:
    """The Jordan network, whose output is fed back (Jordan, "Serial order", 1986).

        h_t = f(x_t W_x + y_{t-1} W_y + b)
        y_t = g(h_t W_o + b_o)

    The state is y, an array [O]: all that one step hands to the next is what it put out. Jordan's
    own state units also decay into themselves; here, as in later texts, they do not. The two
    recurrent products of a step follow each other through f, so that both stay in the loop.

    Args:
      features: H, the width of the hidden layer.
      outputs: O, the width of the output and of the state.
      activation: f, elementwise.
      output_activation: g, elementwise; logistic units in the paper. What g does not bound can grow
        from step to step.
      w_x_init: draws W_x [D, H].
      w_y_init: draws W_y [O, H].
      w_o_init: draws W_o [H, O].

    Raises:
      TypeError, ValueError: `features` or `outputs` is no positive int; an activation is no
        function; params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.jordan(8, 2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> y, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> y.shape, ys.shape
    ((2,), (7, 2))
    """
    name = f"jordan({features}, {outputs})"
    check_features(name, features)
    check_count(name, "outputs", outputs)
    check_function(name, "activation", activation)
    check_function(name, "output_activation", output_activation)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_y_init", w_y_init)
    check_function(name, "w_o_init", w_o_init)

    def init(key: jax.Array, x) -> JordanParams:
        x = input_struct(name, x)
        key_x, key_y, key_o = split_key(name, key, 3)
        return JordanParams(
            w_x=per_gate(w_x_init, 1)(key_x, (x.shape[0], features), x.dtype),
            w_y=per_gate(w_y_init, 1)(key_y, (outputs, features), x.dtype),
            b=jnp.zeros(features, x.dtype),
            w_o=per_gate(w_o_init, 1)(key_o, (features, outputs), x.dtype),
            b_o=jnp.zeros(outputs, x.dtype),
        )

    def initial_state(params: JordanParams) -> jax.Array:
        check_params(name, params, JordanParams, b=(features,), b_o=(outputs,))
        return jnp.zeros_like(params.b_o)

    def step(params: JordanParams, y: jax.Array, x: jax.Array, key=None):
        check_state(name, y, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        h = activation(x @ params.w_x + y @ params.w_y + params.b)
        y = output_activation(h @ params.w_o + params.b_o)
        return y, y

    return Cell(init, initial_state, step, name)
