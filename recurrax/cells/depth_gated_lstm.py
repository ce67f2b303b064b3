"""The depth-gated LSTM: a stack whose cell states are linked from layer to layer."""

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


class DepthGatedLSTMParams(NamedTuple):
    """Of one layer: `w_x` [D, 5H], `w_h` [H, 4H], `b` [5H], gate order i, f, g, o, d; peepholes
    `p_i`, `p_f`, `p_o`, `p_d` [H] and `p_l` [H], of d on the layer below. D is H but for the first
    layer, which has no d: four blocks, and no `p_d` and `p_l` (None).
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array
    p_f: jax.Array
    p_o: jax.Array
    p_d: jax.Array | None
    p_l: jax.Array | None


def depth_gated_lstm(
    features: int,
    layers: int,
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The depth-gated LSTM (Yao et al., 2015, arXiv:1508.03790): a stack of layers as one cell.

    In layer l, whose input x_t is h_t of the layer below, and with c'_t that layer's cell state:

        [i, f, g, o] = x_t W_x + h_{t-1} W_h + b
        d = sigmoid(x_t W_xd + b_d + p_d * c_{t-1} + p_l * c'_t)
        i, f = sigmoid(i + p_i * c_{t-1}), sigmoid(f + p_f * c_{t-1})
        c_t = d * c'_t + f * c_{t-1} + i * tanh(g)
        h_t = sigmoid(o + p_o * c_t) * tanh(c_t),    y_t = h_t of the last layer

    The depth gate d links neighbouring cell states linearly. The first layer has none below it: no
    d, it is `peephole_lstm`. (The first author's code links it to its input, by d * (x_t W) with a
    further matrix, couples f = 1 - i, and has matrices for p_i and p_o.) Params and state are
    tuples, one entry a layer, the state's a `LSTMState(c, h)`. 2 L - 1 recurrent products a step: a
    layer's two, and the first's one.

    Args:
      features: H, the width of every layer; the linear link needs them equal.
      layers: L, at least 1.
      forget_bias: as in `lstm`.
      w_x_init: draws each gate's block of W_x, that of d included.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` or `layers` is no positive int; params or state of another
        cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.depth_gated_lstm(4, layers=2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> len(state), ys.shape
    (2, (7, 4))
    """
    name = f"depth_gated_lstm({features}, {layers})"
    check_features(name, features)
    check_count(name, "layers", layers)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init_layer(key: jax.Array, width: int, below: bool, dtype) -> DepthGatedLSTMParams:
        key_x, key_h, key_b = split_key(name, key, 3)
        b_i, b_f = gate_biases(forget_bias, key_b, features, dtype)
        zeros = jnp.zeros_like(b_i)
        blocks = 5 if below else 4
        return DepthGatedLSTMParams(
            w_x=per_gate(w_x_init, blocks)(key_x, (width, blocks * features), dtype),
            w_h=per_gate(w_h_init, 4)(key_h, (features, 4 * features), dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros, zeros][:blocks]),
            p_i=zeros,
            p_f=zeros,
            p_o=zeros,
            p_d=zeros if below else None,
            p_l=zeros if below else None,
        )

    def init(key: jax.Array, x) -> tuple[DepthGatedLSTMParams, ...]:
        x = input_struct(name, x)
        widths = [x.shape[0]] + [features] * (layers - 1)
        return tuple(
            init_layer(k, width, n > 0, x.dtype)
            for n, (k, width) in enumerate(zip(split_key(name, key, layers), widths, strict=True))
        )

    def initial_state(params: tuple[DepthGatedLSTMParams, ...]) -> tuple[LSTMState, ...]:
        if not isinstance(params, tuple) or len(params) != layers:
            got = f"{len(params)}" if isinstance(params, tuple) else type(params).__name__
            raise TypeError(
                f"{name}: params must be a tuple of {layers}, one entry a layer, got {got}"
            )
        for n, layer in enumerate(params):
            blocks = 5 if n else 4
            check_params(name, layer, DepthGatedLSTMParams, b=(blocks * features,))
            if (layer.p_d is None, layer.p_l is None) != (n == 0, n == 0):
                raise ValueError(
                    f"{name}: params[{n}]: p_d and p_l must be {'arrays' if n else 'None'}, got "
                    f"{jax.tree.map(jnp.shape, (layer.p_d, layer.p_l))}"
                )
        zeros = jnp.zeros(features, params[0].b.dtype)
        return tuple(LSTMState(zeros.copy(), zeros.copy()) for _ in range(layers))

    def step_layer(p: DepthGatedLSTMParams, state: LSTMState, x: jax.Array, below) -> LSTMState:
        i, f, g, o, *d = jnp.split(x @ p.w_x + p.b, 4 if below is None else 5)
        h_i, h_f, h_g, h_o = jnp.split(state.h @ p.w_h, 4)
        i = jax.nn.sigmoid(i + h_i + p.p_i * state.c)
        f = jax.nn.sigmoid(f + h_f + p.p_f * state.c)
        c = f * state.c + i * jnp.tanh(g + h_g)
        if below is not None and p.p_d is not None and p.p_l is not None:
            c += jax.nn.sigmoid(d[0] + p.p_d * state.c + p.p_l * below) * below
        return LSTMState(c, jax.nn.sigmoid(o + h_o + p.p_o * c) * jnp.tanh(c))

    def step(params: tuple[DepthGatedLSTMParams, ...], state, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params[0].w_x.shape[0])
        after: list[LSTMState] = []
        for layer, before in zip(params, state, strict=True):
            below = after[-1].c if after else None
            after.append(step_layer(layer, before, after[-1].h if after else x, below))
        return tuple(after), after[-1].h

    return Cell(init, initial_state, step, name)
