"""What is computed: six cells, two of which only a user would write."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import recurrax as rx
from experiments.benchmarks.options import Shape


class PeepholeParams(NamedTuple):
    """`lstm` as of the plain one; `peepholes` [3, H] from c to i, f, o."""

    lstm: rx.LSTMParams
    peepholes: jax.Array


class LayerNormParams(NamedTuple):
    """`lstm` as of the plain one; gains of the three norms; the third's bias (b is the others')."""

    lstm: rx.LSTMParams
    gain_x: jax.Array
    gain_h: jax.Array
    gain_c: jax.Array
    bias_c: jax.Array


def peephole_lstm(features: int) -> rx.Cell:
    """The LSTM whose gates see the cell state (Gers and Schmidhuber, 2000), written naively.

    i, f = sigmoid(x W_x + h W_h + b + p * c_{t-1}),    o = sigmoid(... + p_o * c_t)
    """
    plain = rx.lstm(features)

    def init(key, x):
        return PeepholeParams(plain.init(key, x), jnp.zeros((3, features), x.dtype))

    def step(params, state, x):
        (w_x, w_h, b), (p_i, p_f, p_o) = params
        i, f, g, o = jnp.split(x @ w_x + state.h @ w_h + b, 4)
        i = jax.nn.sigmoid(i + p_i * state.c)
        f = jax.nn.sigmoid(f + p_f * state.c)
        c = f * state.c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c)
        return rx.LSTMState(c, h), h

    return rx.Cell(init, lambda p: plain.initial_state(p.lstm), step, f"peephole_lstm({features})")


def layer_norm_lstm(features: int) -> rx.Cell:
    """The LSTM with layer normalization (Ba, Kiros and Hinton, 2016), written naively.

    [i, f, g, o] = norm(x W_x) + norm(h W_h) + b,    h = sigmoid(o) * tanh(norm(c))

    With gains of 1 its untrained dynamics are chaotic: no two ways to compute it agree after a
    hundred steps. With these they do.
    """
    plain = rx.lstm(features)

    def norm(v, gain):
        v = v - jnp.mean(v)
        return gain * v * jax.lax.rsqrt(jnp.mean(v * v) + 1e-5)

    def init(key, x):
        wide, narrow = jnp.full(4 * features, 0.3, x.dtype), jnp.full(features, 0.3, x.dtype)
        return LayerNormParams(plain.init(key, x), wide, wide, narrow, 0 * narrow)

    def step(params, state, x):
        (w_x, w_h, b), gain_x, gain_h, gain_c, bias_c = params
        i, f, g, o = jnp.split(norm(x @ w_x, gain_x) + norm(state.h @ w_h, gain_h) + b, 4)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(norm(c, gain_c) + bias_c)
        return rx.LSTMState(c, h), h

    return rx.Cell(init, lambda p: plain.initial_state(p.lstm), step, f"ln_lstm({features})")


class Workload(NamedTuple):
    """A cell and the number of its gates, each of which multiplies by [D, H] and by [H, H]."""

    make: Callable[[int], rx.Cell]
    gates: int


WORKLOADS = {
    "elman": Workload(rx.elman, 1),
    "lstm": Workload(rx.lstm, 4),
    "gru": Workload(rx.gru, 3),
    "gru-before": Workload(functools.partial(rx.gru, reset_after=False), 3),
    "peephole": Workload(peephole_lstm, 4),
    "layer-norm": Workload(layer_norm_lstm, 4),
}


def multiply_adds(name: str, shape: Shape) -> dict[str, int]:
    """The multiply-adds of the products that no evaluation can do without.

    Forward x W_x and h W_h; a training step moreover both weights' gradients, which cost the same
    again, and what flows back through h W_h. The gradient of x is not asked for.
    """
    B, T, D, H = shape
    rows = B * T * WORKLOADS[name].gates * H
    return {"forward": rows * (D + H), "train": rows * (2 * (D + H) + H)}


class Work(NamedTuple):
    """One cell at one shape, the same for every framework: xs [B, T, D]."""

    name: str
    cell: rx.Cell
    shape: Shape
    params: Any
    xs: jax.Array


def make_work(name: str, shape: Shape, seed: int = 0) -> Work:
    """Draws the inputs and weights; hardly a bias keeps a zero that could hide a mix-up."""
    cell = WORKLOADS[name].make(shape.H)
    key_x, key_init, key_noise = jax.random.split(jax.random.key(seed), 3)
    xs = jax.random.normal(key_x, shape[:3])
    leaves, treedef = jax.tree.flatten(cell.init(key_init, xs[0, 0]))
    keys = jax.random.split(key_noise, len(leaves))
    leaves = [
        leaf + 0.05 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    params = jax.tree.unflatten(treedef, leaves)
    if name == "gru":  # the one bias that nnx lacks; its gradient shows a mix-up elsewhere
        params = params._replace(b_hn=jnp.zeros_like(params.b_hn))
    return Work(name, cell, shape, params, xs)
