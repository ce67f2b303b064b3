"""The Elman network: the simple recurrent network, and its form with an identity recurrence."""

from __future__ import annotations

from collections.abc import Callable
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
from recurrax.initializers import Initializer, glorot_uniform, identity, orthogonal, per_gate

_small: Initializer = jax.nn.initializers.normal(1e-3)


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

    The state is h, an array [H]; x is [D].

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
    return _elman(f"elman({features})", features, activation, w_x_init, w_h_init)


def irnn(
    features: int,
    *,
    scale: float = 1.0,
    w_x_init: Initializer = _small,
) -> Cell:
    """The IRNN: ReLUs and a recurrence that starts as the identity (Le et al., 2015,
    arXiv:1504.00941).

        h_t = relu(x_t W_x + h_{t-1} W_h + b),    y_t = h_t;    at first W_h = scale I, b = 0

    An Elman network, with `ElmanParams`, that at first adds up its inputs and hands errors back
    undiminished.

    Args:
      features: H, the width of the state and of the output.
      scale: of the identity; > 0. The paper takes 0.01 for speech, where short memory is enough.
      w_x_init: draws W_x [D, H]; Gaussian with deviation 0.001, as in the paper.

    Raises:
      TypeError, ValueError: `features` is no positive int; `scale` no positive number; params or
        state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.irnn(2)
    >>> print(cell.init(jax.random.key(0), jnp.ones(3)).w_h)
    [[1. 0.]
     [0. 1.]]
    """
    name = f"irnn({features})" if scale == 1 else f"irnn({features}, scale={scale})"
    scale = check_number(name, "scale", scale)
    scaled = lambda key, shape, dtype: scale * identity(key, shape, dtype)  # noqa: E731
    return _elman(name, features, jax.nn.relu, w_x_init, scaled)


def _elman(
    name: str,
    features: int,
    activation: Callable[[jax.Array], jax.Array],
    w_x_init: Initializer,
    w_h_init: Initializer,
) -> Cell:
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
