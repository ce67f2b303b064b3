"""The gated recurrent unit with layer normalisation."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

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
from recurrax.initializers import Initializer, glorot_uniform, orthogonal, per_gate


class LayerNormGRUParams(NamedTuple):
    """`w_x` [D, 3H], `w_h` [H, 3H], gains `g_x` and `g_h` [3H], `b` [3H], gate order r, z, n;
    `b_hn` [H], inside the reset.
    """

    w_x: jax.Array
    w_h: jax.Array
    g_x: jax.Array
    g_h: jax.Array
    b: jax.Array
    b_hn: jax.Array


def layer_norm_gru(
    features: int,
    *,
    epsilon: float = 1e-5,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The GRU with layer normalisation (Ba et al., 2016, supplement, arXiv:1607.06450).

        [r, z] = sigmoid(LN(x_t W_xrz) * g_x + LN(h_{t-1} W_hrz) * g_h + b_rz)
        n = tanh(LN(x_t W_xn) * g_xn + b_n + r * (LN(h_{t-1} W_hn) * g_hn + b_hn))
        h_t = (1 - z) * h_{t-1} + z * n,    y_t = h_t
        LN(a) = (a - mean(a)) / sqrt(var(a) + epsilon)

    As in the paper the gates r and z are normalised together, over 2H numbers, and the candidate by
    itself; z = 1 REPLACES the state (in the authors' code it keeps it); the reset gate follows the
    product, so that a step has one recurrent product. The input's part is normalised for all steps
    at once, outside the loop. Means and variances are taken in float32 at least. The state is h, an
    array [H].

    Args:
      features: H, the width of the state and of the output.
      epsilon: added to the variances; > 0.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; `epsilon` no positive number; params or
        state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.layer_norm_gru(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"layer_norm_gru({features})"
    check_features(name, features)
    epsilon = check_number(name, "epsilon", epsilon)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> LayerNormGRUParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        return LayerNormGRUParams(
            w_x=per_gate(w_x_init, 3)(key_x, (x.shape[0], 3 * features), x.dtype),
            w_h=per_gate(w_h_init, 3)(key_h, (features, 3 * features), x.dtype),
            g_x=jnp.ones(3 * features, x.dtype),
            g_h=jnp.ones(3 * features, x.dtype),
            b=jnp.zeros(3 * features, x.dtype),
            b_hn=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: LayerNormGRUParams) -> jax.Array:
        check_params(name, params, LayerNormGRUParams, b=(3 * features,), b_hn=(features,))
        return jnp.zeros_like(params.b_hn)

    def normalised(a: jax.Array) -> jax.Array:
        """LN of the gates together and of the candidate."""
        gates, candidate = jnp.split(a, [2 * features])
        return jnp.concatenate([standardize(gates, epsilon), standardize(candidate, epsilon)])

    def step(params: LayerNormGRUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        x_r, x_z, x_n = jnp.split(normalised(x @ params.w_x) * params.g_x + params.b, 3)
        h_r, h_z, h_n = jnp.split(normalised(h @ params.w_h) * params.g_h, 3)
        r = jax.nn.sigmoid(x_r + h_r)
        z = jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * (h_n + params.b_hn))
        h = (1 - z) * h + z * n
        return h, h

    return Cell(init, initial_state, step, name)
