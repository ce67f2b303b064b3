"""The two cells of xLSTM: exponential gates, kept in range by a running maximum."""

from __future__ import annotations

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
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    orthogonal,
    per_gate,
)

_FORGET = {"sigmoid": jax.nn.log_sigmoid, "exp": lambda f: f}
"""The logarithm of each kind of forget gate."""


class SLSTMParams(NamedTuple):
    """`w_x` [D, 4H], `w_h` [heads, H/heads, 4H/heads], `b` [4H]; gate order i, f, z, o."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class SLSTMState(NamedTuple):
    """`c` the cell state, `n` its normaliser, `h` the output, `m` the stabiliser; each [H]."""

    c: jax.Array
    n: jax.Array
    h: jax.Array
    m: jax.Array


class MLSTMParams(NamedTuple):
    """`w_x` [D, 4H] and `b` [4H], in the order q, k, v, o; `w_g` [D, 2 heads] and `b_g` [2 heads],
    gate order i, f.
    """

    w_x: jax.Array
    b: jax.Array
    w_g: jax.Array
    b_g: jax.Array


class MLSTMState(NamedTuple):
    """`c` [heads, H/heads, H/heads] the memory (value by key), `n` [heads, H/heads] its normaliser,
    `m` [heads] the stabiliser.
    """

    c: jax.Array
    n: jax.Array
    m: jax.Array


def slstm(
    features: int,
    heads: int = 1,
    *,
    forget: str = "sigmoid",
    forget_bias: float | Initializer = 3.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The sLSTM of xLSTM (Beck et al., 2024, arXiv:2405.04517): exponential gates and a normaliser.

        [i, f, z, o] = x_t W_x + h_{t-1} W_h + b
        m_t = max(log f(f) + m_{t-1}, i)
        i' = exp(i - m_t),    f' = exp(log f(f) + m_{t-1} - m_t)
        c_t = f' * c_{t-1} + i' * tanh(z)
        n_t = f' * n_{t-1} + i'
        h_t = sigmoid(o) * c_t / n_t,    y_t = h_t

    with f(f) = sigmoid(f) or exp(f). W_h is block-diagonal, a block a head. The stabiliser m
    cancels in c_t / n_t: h_t is that of i' = exp(i), f' = f(f). It begins at minus infinity, the
    logarithm of an empty sum, so that n_t >= 1 from the first step on and nothing overflows or is
    divided by zero. The state is `SLSTMState(c, n, h, m)`. One recurrent product a step. As c and n
    are kept in units of exp(m), the three must change together: `rx.zoneout` and
    `rx.state_dropout` are for h alone, `{"h": rate}`.

    Args:
      features: H, the width of each part of the state and of the output.
      heads: into how many blocks W_h is divided; divides H.
      forget: "sigmoid" or "exp"; the first in the authors' code.
      forget_bias: what `init` writes into f's bias, or an initializer that draws it.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each head's block of each gate of W_h.

    Raises:
      TypeError, ValueError: `features` or `heads` is no positive int, or does not divide; unknown
        `forget`; params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.slstm(8, heads=2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> params.w_h.shape, rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    ((2, 4, 16), (7, 8))
    """
    name = _name("slstm", features, heads, forget)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    width = features // heads

    def init(key: jax.Array, x) -> SLSTMParams:
        x = input_struct(name, x)
        key_x, key_h, key_b = split_key(name, key, 3)
        draw = per_gate(w_h_init, 4)
        keys = split_key(name, key_h, heads)
        _, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        return SLSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            w_h=jnp.stack([draw(k, (width, 4 * width), x.dtype) for k in keys]),
            b=jnp.zeros((4, features), x.dtype).at[1].set(b_f).reshape(-1),
        )

    def initial_state(params: SLSTMParams) -> SLSTMState:
        check_params(name, params, SLSTMParams, b=(4 * features,), w_h=(heads, width, 4 * width))
        zeros = jnp.zeros(features, params.b.dtype)
        return SLSTMState(zeros, zeros.copy(), zeros.copy(), jnp.full_like(zeros, -jnp.inf))

    def step(params: SLSTMParams, state: SLSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        fed_back = jnp.einsum("nd,nde->ne", state.h.reshape(heads, width), params.w_h)
        fed_back = fed_back.reshape(heads, 4, width).swapaxes(0, 1).reshape(-1)
        i, f, z, o = jnp.split(x @ params.w_x + fed_back + params.b, 4)
        i, f, m = _stabilised(i, _FORGET[forget](f), state.m)
        c = f * state.c + i * jnp.tanh(z)
        n = f * state.n + i
        h = jax.nn.sigmoid(o) * (c / n)
        return SLSTMState(c, n, h, m), h

    return Cell(init, initial_state, step, name)


def mlstm(
    features: int,
    heads: int = 1,
    *,
    forget: str = "sigmoid",
    forget_bias: float | Initializer = 3.0,
    w_x_init: Initializer = glorot_uniform,
) -> Cell:
    """The mLSTM of xLSTM (Beck et al., 2024, arXiv:2405.04517): a matrix memory, written by value
    and key.

        [q, k, v, o] = x_t W_x + b
        [i, f] = x_t W_g + b_g                                    (one number each)
        m_t = max(log f(f) + m_{t-1}, i)
        i' = exp(i - m_t),    f' = exp(log f(f) + m_{t-1} - m_t)
        C_t = f' C_{t-1} + i' v k^T,    n_t = f' n_{t-1} + i' k,    with k / sqrt(d) for k
        h_t = sigmoid(o) * C_t q / max(|n_t^T q|, exp(-m_t)),    y_t = h_t

    in each head, of width d = H/heads, with f(f) = sigmoid(f) or exp(f). The stabiliser m cancels:
    h_t is that of i' = exp(i), f' = f(f) and max(|n_t^T q|, 1); it begins at minus infinity, the
    logarithm of an empty sum. As in the paper the gates see x; in the authors' block they see its
    q, k and v. No gate sees an output, and the memory is never multiplied by a
    matrix: no recurrent product. Reading it, C_t q, is one product a step, which needs C_t, and
    leaves the loop only where storing every C_t costs little. The state is `MLSTMState(c, n, m)`,
    C and n in units of exp(m): the three change together, and `rx.zoneout` is not for them.

    Args:
      features: H, the width of the output.
      heads: how many memories; divides H.
      forget: "sigmoid" or "exp"; the first in the authors' code.
      forget_bias: what `init` writes into f's biases [heads], or an initializer that draws them.
      w_x_init: draws each block of W_x, and of W_g.

    Raises:
      TypeError, ValueError: `features` or `heads` is no positive int, or does not divide; unknown
        `forget`; params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.mlstm(8, heads=2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> state.c.shape, ys.shape
    ((2, 4, 4), (7, 8))
    """
    name = _name("mlstm", features, heads, forget)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    width = features // heads

    def init(key: jax.Array, x) -> MLSTMParams:
        x = input_struct(name, x)
        key_x, key_g, key_b = split_key(name, key, 3)
        _, b_f = gate_biases(forget_bias, key_b, heads, x.dtype)
        return MLSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (x.shape[0], 4 * features), x.dtype),
            b=jnp.zeros(4 * features, x.dtype),
            w_g=per_gate(w_x_init, 2)(key_g, (x.shape[0], 2 * heads), x.dtype),
            b_g=jnp.concatenate([jnp.zeros_like(b_f), b_f]),
        )

    def initial_state(params: MLSTMParams) -> MLSTMState:
        check_params(name, params, MLSTMParams, b=(4 * features,), b_g=(2 * heads,))
        c = jnp.zeros((heads, width, width), params.b.dtype)
        return MLSTMState(c, c[:, 0], jnp.full_like(c[:, 0, 0], -jnp.inf))

    def step(params: MLSTMParams, state: MLSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        q, k, v, o = (x @ params.w_x + params.b).reshape(4, heads, width)
        k = k / width**0.5
        i, f = (x @ params.w_g + params.b_g).reshape(2, heads)
        i, f, m = _stabilised(i, _FORGET[forget](f), state.m)
        c = f[:, None, None] * state.c + i[:, None, None] * (v[:, :, None] * k[:, None, :])
        n = f[:, None] * state.n + i[:, None] * k
        read = jnp.einsum("nvk,nk->nv", c, q)
        # Of a memory that is all but empty exp(-m) overflows: both sides of the fraction are
        # multiplied by exp(min(m, 0)). A sum n^T q below exp(-40) is the rounding of its terms.
        scale = jnp.exp(jnp.minimum(m, 0))
        norm = jnp.maximum(scale * jnp.abs((n * q).sum(-1)), jnp.exp(-jnp.clip(m, 0, 40)))
        h = (jax.nn.sigmoid(o) * (read * (scale / norm)[:, None])).reshape(-1)
        return MLSTMState(c, n, m), h

    return Cell(init, initial_state, step, name)


def _stabilised(
    log_i: jax.Array, log_f: jax.Array, m: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Both gates, divided by exp(m_t) and multiplied by exp(m_{t-1}) where due, and m_t."""
    after = jnp.maximum(log_f + m, log_i)
    return jnp.exp(log_i - after), jnp.exp(log_f + m - after), after


def _name(factory: str, features: int, heads: int, forget: str) -> str:
    """The cell's name; checks what it is made of."""
    options = ("" if heads == 1 else f", heads={heads}") + (
        "" if forget == "sigmoid" else f", forget={forget!r}"
    )
    name = f"{factory}({features}{options})"
    check_features(name, features)
    check_count(name, "heads", heads)
    if features % heads:
        raise ValueError(f"{name}: features must divide into heads, got {features} and {heads}")
    if forget not in _FORGET:
        raise ValueError(f"{name}: forget must be one of {list(_FORGET)}, got {forget!r}")
    return name
