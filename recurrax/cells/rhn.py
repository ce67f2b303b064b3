"""The recurrent highway network: several gated layers from one time step to the next."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count, check_number
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
from recurrax.initializers import Initializer, glorot_uniform, orthogonal, per_gate


class RHNParams(NamedTuple):
    """`w_x` [D, G H], `w_h` [L, H, G H], `b` [L, G H]; gate order h, t, c.

    L is the depth; G = 2 where the carry gate is coupled (there is no c), else 3.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


def rhn(
    features: int,
    depth: int,
    *,
    coupled: bool = True,
    transform_bias: float = -2.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The recurrent highway network, RHN (Zilly et al., 2017, arXiv:1607.03474).

        s_0 = y_{t-1};  for each layer l = 1..L, with x_t W = 0 for l > 1:
        h = tanh(x_t W_xh + s_{l-1} W_hh^l + b_h^l)
        t = sigmoid(x_t W_xt + s_{l-1} W_ht^l + b_t^l)
        c = sigmoid(x_t W_xc + s_{l-1} W_hc^l + b_c^l), or c = 1 - t where coupled
        s_l = t * h + c * s_{l-1};    y_t = s_L

    The L layers follow each other within a step, so that L recurrent products stay in the loop.
    Only the first sees the input. The state is y, an array [H].

    Args:
      features: H, the width of the state and of the output.
      depth: L, the recurrence depth.
      coupled: whether the carry gate is 1 - t or has weights of its own.
      transform_bias: what `init` writes into t's biases; negative, so that a fresh network mostly
        carries its state on. c's get its negative, and both forms start alike.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of each layer's W_h.

    Raises:
      TypeError, ValueError: `features` or `depth` is no positive int; params or state of another
        cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.rhn(4, depth=3)
    >>> params = cell.init(jax.random.key(0), jnp.ones(5))
    >>> params.w_h.shape
    (3, 4, 8)
    >>> rx.unroll(cell, params, jnp.ones((7, 5)))[1].shape
    (7, 4)
    """
    name = f"rhn({features}, {depth})" if coupled else f"rhn({features}, {depth}, coupled=False)"
    check_features(name, features)
    check_count(name, "depth", depth)
    transform_bias = check_number(name, "transform_bias", transform_bias, "")
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    gates = 2 if coupled else 3

    def init(key: jax.Array, x) -> RHNParams:
        x = input_struct(name, x)
        key_x, *keys_h = split_key(name, key, 1 + depth)
        biases = jnp.array([0, transform_bias, -transform_bias][:gates], x.dtype)
        draw = per_gate(w_h_init, gates)
        return RHNParams(
            w_x=per_gate(w_x_init, gates)(key_x, (x.shape[0], gates * features), x.dtype),
            w_h=jnp.stack([draw(k, (features, gates * features), x.dtype) for k in keys_h]),
            b=jnp.tile(jnp.repeat(biases, features), (depth, 1)),
        )

    def initial_state(params: RHNParams) -> jax.Array:
        check_params(name, params, RHNParams, b=(depth, gates * features))
        return jnp.zeros(features, params.b.dtype)

    def step(params: RHNParams, y: jax.Array, x: jax.Array, key=None):
        check_state(name, y, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        s = y
        for layer in range(depth):
            pre = s @ params.w_h[layer] + params.b[layer]
            if layer == 0:
                pre = x @ params.w_x + pre
            h, t, *c = jnp.split(pre, gates)
            t = jax.nn.sigmoid(t)
            s = t * jnp.tanh(h) + (1 - t if coupled else jax.nn.sigmoid(c[0])) * s
        return s, s

    return Cell(init, initial_state, step, name)
