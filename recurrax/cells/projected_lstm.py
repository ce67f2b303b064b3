"""The LSTM whose output is projected."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells.lstm import LSTMState
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
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    orthogonal,
    per_gate,
)


class ProjectedLSTMParams(NamedTuple):
    """`w_x` [D, 4H], `w_h` [P, 4H], `b` [4H], gate order i, f, g, o; `w_p` [H, P]."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    w_p: jax.Array


def projected_lstm(
    features: int,
    projection: int,
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
    w_p_init: Initializer = glorot_uniform,
) -> Cell:
    """The LSTM with a recurrent projection, LSTMP (Sak et al., 2014, arXiv:1402.1128), as PyTorch's
    `proj_size`.

        [i, f, g, o] = x_t W_x + h_{t-1} W_h + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = (sigmoid(o) * tanh(c_t)) W_p,    y_t = h_t

    A wide cell state with a narrow output: 4H (D + P) + H P weights. The paper's has peepholes too,
    and a second projection for the output alone. The state is `LSTMState(c, h)` with c [H] and
    h [P]. Two recurrent products a step, one after the other; their contraction to
    one, W_p W_h, would be [H, 4H], which the projection is there to avoid.

    Args:
      features: H, the width of the cell state.
      projection: P, the width of the output.
      forget_bias: as in `lstm`.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.
      w_p_init: draws W_p.

    Raises:
      TypeError, ValueError: `features` or `projection` is no positive int; params or state of
        another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.projected_lstm(8, 3)
    >>> params = cell.init(jax.random.key(0), jnp.ones(5))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 5)))
    >>> state.c.shape, state.h.shape, ys.shape
    ((8,), (3,), (7, 3))
    """
    name = f"projected_lstm({features}, {projection})"
    check_features(name, features)
    check_count(name, "projection", projection)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    check_function(name, "w_p_init", w_p_init)

    def init(key: jax.Array, x) -> ProjectedLSTMParams:
        x = input_struct(name, x)
        key_x, key_h, key_b, key_p = split_key(name, key, 4)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        zeros = jnp.zeros_like(b_i)
        return ProjectedLSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            w_h=per_gate(w_h_init, 4)(key_h, (projection, 4 * features), x.dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros]),
            w_p=per_gate(w_p_init, 1)(key_p, (features, projection), x.dtype),
        )

    def initial_state(params: ProjectedLSTMParams) -> LSTMState:
        check_params(
            name, params, ProjectedLSTMParams, b=(4 * features,), w_p=(features, projection)
        )
        dtype = params.b.dtype
        return LSTMState(jnp.zeros(features, dtype), jnp.zeros(projection, dtype))

    def step(params: ProjectedLSTMParams, state: LSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + params.b, 4)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)) @ params.w_p
        return LSTMState(c, h), h

    return Cell(init, initial_state, step, name)
