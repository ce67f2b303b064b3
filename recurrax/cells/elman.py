"""The Elman network: the simple recurrent network."""

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
from recurrax.initializers import Initializer, glorot_uniform, orthogonal, per_gate


class ElmanParams(NamedTuple):
    """`w_x` [D, H], `w_h` [H, H], `b` [H]."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


def elman(
    features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The simple recurrent network (Elman, "Finding structure in time", 1990).

        h_t = f(x_t W_x + h_{t-1} W_h + b),    y_t = h_t

    The state is h, an array [H]; x is [D]. With `activation=jax.nn.relu` and an identity `w_h_init`
    it is the IRNN (Le et al., 2015).

    Args:
      features: H, the width of the state and of the output.
      activation: f, elementwise.
      w_x_init: draws W_x [D, H].
      w_h_init: draws W_h [H, H].

    Raises:
      TypeError, ValueError: `features` is no positive int; `activation` no function; params or
        state of another cell; x is not a floating vector of width D.

    >>> import jax, recurrax as rx
    >>> cell = rx.elman(3)
    >>> params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((2,), "float32"))
    >>> state, y = cell.step(params, cell.initial_state(params), jax.numpy.ones(2))
    >>> y.shape
    (3,)
    """
    name = f"elman({features})"
    check_features(name, features)
    check_function(name, "activation", activation)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> ElmanParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        return ElmanParams(
            w_x=per_gate(w_x_init, 1)(key_x, (x.shape[0], features), x.dtype),
            w_h=per_gate(w_h_init, 1)(key_h, (features, features), x.dtype),
            b=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: ElmanParams) -> jax.Array:
        check_params(name, params, ElmanParams, b=(features,))
        return jnp.zeros_like(params.b)

    def step(params: ElmanParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        h = activation(x @ params.w_x + h @ params.w_h + params.b)
        return h, h

    return Cell(init, initial_state, step, name)
