"""Minimal gated units: the GRU and the LSTM whose gates do not see the state."""

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
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    per_gate,
)


class MinGRUParams(NamedTuple):
    """`w` [D, 2H], `b` [2H], order z, n."""

    w: jax.Array
    b: jax.Array


class MinLSTMParams(NamedTuple):
    """`w` [D, 3H], `b` [3H], order f, i, n."""

    w: jax.Array
    b: jax.Array


def _identity(x: jax.Array) -> jax.Array:
    return x


def min_gru(
    features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = _identity,
    w_init: Initializer = glorot_uniform,
) -> Cell:
    """The minimal GRU, minGRU (Feng et al., "Were RNNs all we needed?", 2024, arXiv:2410.01201).

        z_t = sigmoid(x_t W_z + b_z)
        n_t = f(x_t W_n + b_n)
        h_t = (1 - z_t) * h_{t-1} + z_t * n_t,    y_t = h_t

    Linear in h: `method="associative"` runs it in O(log T) rounds. The state is h, an array [H].

    Args:
      features: H, the width of the state and of the output.
      activation: f, elementwise; the identity by default. The paper's units in log space have
        x + 1/2 for x >= 0 and sigmoid(x) below.
      w_init: draws each block of W.

    Raises:
      TypeError, ValueError: `features` is no positive int; `activation` no function; params or
        state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.min_gru(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"min_gru({features})"
    check_features(name, features)
    check_function(name, "activation", activation)
    check_function(name, "w_init", w_init)

    def init(key: jax.Array, x) -> MinGRUParams:
        x = input_struct(name, x)
        return MinGRUParams(
            w=per_gate(w_init, 2)(key, (x.shape[0], 2 * features), x.dtype),
            b=jnp.zeros(2 * features, x.dtype),
        )

    def initial_state(params: MinGRUParams) -> jax.Array:
        check_params(name, params, MinGRUParams, b=(2 * features,))
        return jnp.zeros(features, params.b.dtype)

    def step(params: MinGRUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w.shape[0])
        z, n = jnp.split(x @ params.w + params.b, 2)
        h = jax.nn.sigmoid(-z) * h + jax.nn.sigmoid(z) * activation(n)
        return h, h

    return Cell(init, initial_state, step, name)


def min_lstm(
    features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = _identity,
    forget_bias: float | Initializer = 0.0,
    w_init: Initializer = glorot_uniform,
) -> Cell:
    """The minimal LSTM, minLSTM (Feng et al., "Were RNNs all we needed?", 2024, arXiv:2410.01201),
    whose gates are normalised.

        f_t = sigmoid(x_t W_f + b_f)
        i_t = sigmoid(x_t W_i + b_i)
        n_t = f(x_t W_n + b_n)
        h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * n_t,    y_t = h_t

    The ratios are computed so that they stay finite where both gates vanish. Linear in h:
    `method="associative"` runs it in O(log T) rounds. The state is h, an array [H].

    Args:
      features: H, the width of the state and of the output.
      activation: f of n_t, elementwise; as in `min_gru`.
      forget_bias: what `init` writes into b_f; an initializer draws it, and b_i is its negative.
      w_init: draws each block of W.

    Raises:
      TypeError, ValueError: `features` is no positive int; `activation` no function;
        `forget_bias` neither a number nor an initializer; params or state of another cell; x is
        not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.min_lstm(4, forget_bias=1.0)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"min_lstm({features})"
    check_features(name, features)
    check_function(name, "activation", activation)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_init", w_init)

    def init(key: jax.Array, x) -> MinLSTMParams:
        x = input_struct(name, x)
        key_w, key_b = split_key(name, key)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        return MinLSTMParams(
            w=per_gate(w_init, 3)(key_w, (x.shape[0], 3 * features), x.dtype),
            b=jnp.concatenate([b_f, b_i, jnp.zeros_like(b_i)]),
        )

    def initial_state(params: MinLSTMParams) -> jax.Array:
        check_params(name, params, MinLSTMParams, b=(3 * features,))
        return jnp.zeros(features, params.b.dtype)

    def step(params: MinLSTMParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w.shape[0])
        f, i, n = jnp.split(x @ params.w + params.b, 3)
        log_ratio = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)  # of the gates
        h = jax.nn.sigmoid(log_ratio) * h + jax.nn.sigmoid(-log_ratio) * activation(n)
        return h, h

    return Cell(init, initial_state, step, name)
