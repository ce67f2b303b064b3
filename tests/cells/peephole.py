"""A cell as a user writes it: no base class, no key, no checks, three functions."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

import recurrax as rx


class PeepholeParams(NamedTuple):
    """`w` [D + H, 4H], `b` [4H], gate order i, f, g, o; peepholes `p_i`, `p_f`, `p_o` [H]."""

    w: jax.Array
    b: jax.Array
    p_i: jax.Array
    p_f: jax.Array
    p_o: jax.Array


def peephole_lstm(features: int) -> rx.Cell:
    """An LSTM whose gates see the cell state (Gers and Schmidhuber, 2000)."""

    def init(key, x):
        keys = jax.random.split(key, 4)
        w = jax.random.normal(keys[0], (x.shape[0] + features, 4 * features), x.dtype)
        peepholes = [jax.random.normal(k, (features,), x.dtype) for k in keys[1:]]
        return PeepholeParams(w / 3, jnp.zeros(4 * features, x.dtype), *peepholes)

    def initial_state(params):
        return jnp.zeros_like(params.p_i), jnp.zeros_like(params.p_i)

    def step(params, state, x):
        c, h = state
        i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ params.w + params.b, 4)
        i = jax.nn.sigmoid(i + params.p_i * c)
        f = jax.nn.sigmoid(f + params.p_f * c)
        c = f * c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + params.p_o * c) * jnp.tanh(c)
        return (c, h), h

    return rx.Cell(init, initial_state, step, name=f"peephole_lstm({features})")
