"""Cells with one gate: the update gate RNN and the minimal gated unit."""

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


class UGRNNParams(NamedTuple):
    """`w_x` [D, 2H], `w_h` [H, 2H], `b` [2H]; gate order g, c."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


def ugrnn(
    features: int,
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The update gate RNN, UGRNN (Collins et al., 2017, arXiv:1611.09913).

        g = sigmoid(x_t W_xg + h_{t-1} W_hg + b_g)
        c = tanh(x_t W_xc + h_{t-1} W_hc + b_c)
        h_t = g * h_{t-1} + (1 - g) * c,    y_t = h_t

    The gate keeps the state where it is 1. The state is h, an array [H].

    Args:
      features: H, the width of the state and of the output.
      forget_bias: what `init` writes into g's bias, a number or an initializer, such as
        `chrono`'s, that draws it; the equations add nothing to it.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell; x is
        not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.ugrnn(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"ugrnn({features})"
    check_features(name, features)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> UGRNNParams:
        x = input_struct(name, x)
        key_x, key_h, key_b = split_key(name, key, 3)
        _, b_g = gate_biases(forget_bias, key_b, features, x.dtype)
        return UGRNNParams(
            w_x=per_gate(w_x_init, 2)(key_x, (x.shape[0], 2 * features), x.dtype),
            w_h=per_gate(w_h_init, 2)(key_h, (features, 2 * features), x.dtype),
            b=jnp.concatenate([b_g, jnp.zeros_like(b_g)]),
        )

    def initial_state(params: UGRNNParams) -> jax.Array:
        check_params(name, params, UGRNNParams, b=(2 * features,))
        return jnp.zeros(features, params.b.dtype)

    def step(params: UGRNNParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        g, c = jnp.split(x @ params.w_x + h @ params.w_h + params.b, 2)
        g = jax.nn.sigmoid(g)
        h = g * h + (1 - g) * jnp.tanh(c)
        return h, h

    return Cell(init, initial_state, step, name)


class MGUParams(NamedTuple):
    """`w_x` [D, 2H], `w_h` [H, 2H], `b` [2H], gate order f, n; `b_hn` [H], or None.

    `b_hn` exists only where the gate follows the product, as in `GRUParams`.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    b_hn: jax.Array | None


def mgu(
    features: int,
    *,
    reset_after: bool = True,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The minimal gated unit, MGU: a GRU whose two gates are one (Zhou et al., 2016,
    arXiv:1603.09420).

        f = sigmoid(x_t W_xf + h_{t-1} W_hf + b_f)
        n = tanh(x_t W_xn + b_n + f * (h_{t-1} W_hn + b_hn))    reset_after=True (flax)
        n = tanh(x_t W_xn + b_n + (f * h_{t-1}) W_hn)           reset_after=False (the paper)
        h_t = (1 - u) * h_{t-1} + u * n,    y_t = h_t

    u follows the form, as in `gru`: with `reset_after=True`, f = 1 KEEPS the state, u = 1 - f; with
    `reset_after=False`, f = 1 REPLACES it, u = f. The first form needs one recurrent product a
    step, the second two, one after the other.

    Args:
      features: H, the width of the state and of the output.
      reset_after: whether the gate acts on the state after the recurrent product or before it.
      w_x_init: draws each block of W_x.
      w_h_init: draws each block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell, or
        of the other form; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.mgu(4, reset_after=False)
    >>> cell
    mgu(4, reset_after=False)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"mgu({features})" if reset_after else f"mgu({features}, reset_after=False)"
    check_features(name, features)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> MGUParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        return MGUParams(
            w_x=per_gate(w_x_init, 2)(key_x, (x.shape[0], 2 * features), x.dtype),
            w_h=per_gate(w_h_init, 2)(key_h, (features, 2 * features), x.dtype),
            b=jnp.zeros(2 * features, x.dtype),
            b_hn=jnp.zeros(features, x.dtype) if reset_after else None,
        )

    def initial_state(params: MGUParams) -> jax.Array:
        check_params(name, params, MGUParams, b=(2 * features,))
        if (params.b_hn is not None) != reset_after:
            raise ValueError(
                f"{name}: params.b_hn must be {'an array' if reset_after else 'None'}, got "
                f"{params.b_hn!r}; were the params made for the other form of the MGU?"
            )
        return jnp.zeros(features, params.b.dtype)

    def step(params: MGUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        x_f, x_n = jnp.split(x @ params.w_x + params.b, 2)
        if params.b_hn is not None:
            h_f, h_n = jnp.split(h @ params.w_h, 2)
            f = jax.nn.sigmoid(x_f + h_f)
            n = jnp.tanh(x_n + f * (h_n + params.b_hn))
            h = f * h + (1 - f) * n
        else:
            w_f, w_n = jnp.split(params.w_h, 2, axis=1)
            f = jax.nn.sigmoid(x_f + h @ w_f)
            n = jnp.tanh(x_n + (f * h) @ w_n)
            h = (1 - f) * h + f * n
        return h, h

    return Cell(init, initial_state, step, name)
