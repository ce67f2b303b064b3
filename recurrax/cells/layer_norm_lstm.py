"""The layer-normalised LSTM."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells.lstm import LSTMState
from recurrax.cells.standardize import standardize
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
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    orthogonal,
    per_gate,
)


class LayerNormLSTMParams(NamedTuple):
    """`w_x` [D, 4H], `w_h` [H, 4H], `b` [4H], gate order i, f, g, o; the gains `g_x`, `g_h` [4H]
    and `g_c` [H]; `b_c` [H].
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    g_x: jax.Array
    g_h: jax.Array
    g_c: jax.Array
    b_c: jax.Array


def layer_norm_lstm(
    features: int,
    *,
    forget_bias: float | Initializer = 1.0,
    epsilon: float = 1e-5,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The LSTM with layer normalization (Ba, Kiros and Hinton, 2016, supplement, arXiv:1607.06450).

        [i, f, g, o] = g_x * n(x_t W_x) + g_h * n(h_{t-1} W_h) + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(g_c * n(c_t) + b_c),    y_t = h_t
        n(v) = (v - mean(v)) / sqrt(var(v) + epsilon)

    As in the paper, n is taken over all four gates at once, and what the cell keeps, c_t, is not
    normalised. The paper's three biases of the gates are one sum, b. The state is
    `LSTMState(c, h)`.

    Args:
      features: H, the width of both halves of the state and of the output.
      forget_bias: as in `lstm`.
      epsilon: added to the variance.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; `epsilon` no positive number; params or
        state of another cell; x is not a floating vector of width D.
    """
    name = f"layer_norm_lstm({features})"
    check_features(name, features)
    check_forget_bias(name, forget_bias)
    check_number(name, "epsilon", epsilon)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> LayerNormLSTMParams:
        x = input_struct(name, x)
        key_x, key_h, key_b = split_key(name, key, 3)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        zeros = jnp.zeros_like(b_i)
        return LayerNormLSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            w_h=per_gate(w_h_init, 4)(key_h, (features, 4 * features), x.dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros]),
            g_x=jnp.ones(4 * features, x.dtype),
            g_h=jnp.ones(4 * features, x.dtype),
            g_c=jnp.ones(features, x.dtype),
            b_c=zeros,
        )

    def initial_state(params: LayerNormLSTMParams) -> LSTMState:
        check_params(name, params, LayerNormLSTMParams, b=(4 * features,))
        zeros = jnp.zeros(features, params.b.dtype)
        return LSTMState(zeros, zeros.copy())

    def step(params: LayerNormLSTMParams, state: LSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        from_x = params.g_x * standardize(x @ params.w_x, epsilon)
        from_h = params.g_h * standardize(state.h @ params.w_h, epsilon)
        i, f, g, o = jnp.split(from_x + from_h + params.b, 4)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        seen = params.g_c * standardize(c, epsilon) + params.b_c
        h = jax.nn.sigmoid(o) * jnp.tanh(seen)
        return LSTMState(c, h), h

    return Cell(init, initial_state, step, name)
