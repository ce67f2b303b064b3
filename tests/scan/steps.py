"""Cells as a user would write them, and the params, states and inputs to run them on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

D, H, T = 3, 4, 5


def draw(*shapes: tuple[int, ...], seed: int = 0):
    """Normal arrays."""
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return tuple(0.5 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))


def elman(params, h, x):
    u, w, b = params
    h = jnp.tanh(x @ u + h @ w + b)
    return h, h


def lstm(params, state, x):
    w, u, b = params
    c, h = state
    i, f, g, o = jnp.split(x @ w + h @ u + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def gru_after(params, h, x):
    w, u, b, b_h = params
    z_x, r_x, n_x = jnp.split(x @ w + b, 3)
    z_h, r_h, n_h = jnp.split(h @ u + b_h, 3)
    z = sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + sigmoid(r_x + r_h) * n_h)
    h = (1 - z) * n + z * h
    return h, h


def gru_before(params, h, x):
    w, u_zr, u_n, b = params
    zr_x, n_x = jnp.split(x @ w + b, [2 * h.shape[0]])
    z, r = jnp.split(sigmoid(zr_x + h @ u_zr), 2)
    h = (1 - z) * jnp.tanh(n_x + (r * h) @ u_n) + z * h
    return h, h


def peephole(params, state, x):
    w, u, b, p = params
    c, h = state
    i, f, g, o = jnp.split(x @ w + h @ u + b, 4)
    c = sigmoid(f + p[0] * c) * c + sigmoid(i + p[1] * c) * jnp.tanh(g)
    h = sigmoid(o + p[2] * c) * jnp.tanh(c)
    return (c, h), h


def _normed(x, scale, shift):
    x = x - x.mean()
    return scale * x / jnp.sqrt((x * x).mean() + 1e-5) + shift


def layer_norm_lstm(params, state, x):
    w, u, s_x, s_h, b, s_c, b_c = params
    c, h = state
    i, f, g, o = jnp.split(_normed(x @ w, s_x, b) + _normed(h @ u, s_h, 0.0), 4)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(_normed(c, s_c, b_c))
    return (c, h), h


def naive(params, state, x):
    """An LSTM on a concatenation, whose output is projected."""
    w, b, w_y = params
    c, h = state
    z = jnp.concatenate([x, h]) @ w + b
    i, f, g, o = jnp.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return (c, h), jax.nn.softmax(h @ w_y)


def attention(params, state, x):
    """Input feeding (Luong et al., 2015) over additive scores (Bahdanau et al., 2015)."""
    w, b, keys, values, v, w_q, w_c = params
    c, h, fed = state
    (c, h), _ = lstm((w[: 2 * D], w[2 * D :], b), (c, h), jnp.concatenate([x, fed]))
    weights = jax.nn.softmax(jnp.tanh(keys + h @ w_q) @ v)
    fed = jnp.tanh(jnp.concatenate([h, weights @ values]) @ w_c)
    return (c, h, fed), (fed, weights)


def cases(d: int = D, h: int = H) -> dict:
    """Name: step, shapes of the params, shapes of the state, products forward and backward."""
    g = 4 * h
    pair = ((h,), (h,))
    return {
        "elman": (elman, ((d, h), (h, h), (h,)), (h,), 1, 1),
        "lstm": (lstm, ((d, g), (h, g), (g,)), pair, 1, 1),
        "gru_after": (gru_after, ((d, 3 * h), (h, 3 * h), (3 * h,), (3 * h,)), (h,), 1, 1),
        "gru_before": (gru_before, ((d, 3 * h), (h, 2 * h), (h, h), (3 * h,)), (h,), 2, 2),
        "peephole": (peephole, ((d, g), (h, g), (g,), (3, h)), pair, 1, 1),
        "layer_norm_lstm": (
            layer_norm_lstm,
            ((d, g), (h, g), (g,), (g,), (g,), (h,), (h,)),
            pair,
            1,
            1,
        ),
        "naive": (naive, ((d + h, g), (g,), (h, 7)), pair, 1, 1),
    }


def make(name: str, d: int = D, h: int = H):
    """The step and its (params, initial state)."""
    step, params, state, *_ = cases(d, h)[name]
    flat = draw(*params), draw(*(state if isinstance(state[0], tuple) else (state,)), seed=1)
    return step, flat[0], flat[1] if isinstance(state[0], tuple) else flat[1][0]


def make_attention():
    """The attention step and its (params, initial state)."""
    g, s = 4 * H, 6
    params = draw((2 * D + H, g), (g,), (s, H), (s, H), (H,), (H, H), (2 * H, D))
    return attention, params, draw((H,), (H,), (D,), seed=1)
