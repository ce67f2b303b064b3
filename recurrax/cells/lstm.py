"""Long short-term memory."""

from __future__ import annotations

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
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    orthogonal,
    per_gate,
)


class LSTMParams(NamedTuple):
    """`w_x` [D, 4H], `w_h` [H, 4H], `b` [4H]; gate order i, f, g, o."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class LSTMState(NamedTuple):
    """`c` [H] the cell state, `h` [H] the output."""

    c: jax.Array
    h: jax.Array


def lstm(
    features: int,
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with a forget gate (Gers et al.,
    2000).

        [i, f, g, o] = x_t W_x + h_{t-1} W_h + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t),    y_t = h_t

    One bias a gate (PyTorch keeps two, whose sum this is). The state is `LSTMState(c, h)`.

    Args:
      features: H, the width of both halves of the state and of the output.
      forget_bias: what `init` writes into f's bias (1 after Jozefowicz et al., 2015); the
        equations add nothing to it. An initializer, such as `rx.initializers.chrono(longest)`,
        draws it, and i's bias starts at its negative.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell; x is
        not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lstm(4)
    >>> xs = jnp.ones((7, 3))
    >>> params = cell.init(jax.random.key(0), xs[0])
    >>> state, ys = rx.unroll(cell, params, xs)
    >>> ys.shape, state.c.shape
    ((7, 4), (4,))
    """
    name = f"lstm({features})"
    check_features(name, features)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> LSTMParams:
        x = input_struct(name, x)
        key_x, key_h, key_b = split_key(name, key, 3)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        zeros = jnp.zeros_like(b_i)
        return LSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            w_h=per_gate(w_h_init, 4)(key_h, (features, 4 * features), x.dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros]),
        )

    def initial_state(params: LSTMParams) -> LSTMState:
        check_params(name, params, LSTMParams, b=(4 * features,))
        zeros = jnp.zeros(features, params.b.dtype)
        return LSTMState(zeros, zeros.copy())

    def step(params: LSTMParams, state: LSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + params.b, 4)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(c, h), h

    return Cell(init, initial_state, step, name)
