"""The gated recurrent unit, in both of its published forms."""

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
from recurrax.initializers import Initializer, glorot_uniform, orthogonal, per_gate


class GRUParams(NamedTuple):
    """`w_x` [D, 3H], `w_h` [H, 3H], `b` [3H], gate order r, z, n; `b_hn` [H], or None.

    `b_hn` exists only where the reset follows the product; elsewhere it would be a second name for
    the last third of `b`.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    b_hn: jax.Array | None


def gru(
    features: int,
    *,
    reset_after: bool = True,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The gated recurrent unit (Cho et al., 2014, arXiv:1406.1078; Chung et al., 2014,
    arXiv:1412.3555).

        r = sigmoid(x_t W_xr + h_{t-1} W_hr + b_r)
        z = sigmoid(x_t W_xz + h_{t-1} W_hz + b_z)
        n = tanh(x_t W_xn + b_n + r * (h_{t-1} W_hn + b_hn))    reset_after=True (cuDNN, PyTorch)
        n = tanh(x_t W_xn + b_n + (r * h_{t-1}) W_hn)           reset_after=False (the papers)
        h_t = (1 - u) * h_{t-1} + u * n,    y_t = h_t

    with u = 1 - z in the first form and u = z in the second. The two published sign conventions of
    the update gate go with the two forms:

    * `reset_after=True` follows cuDNN and PyTorch: z = 1 KEEPS the state, u = 1 - z.
    * `reset_after=False` follows the texts (Chung et al., 2014): z = 1 REPLACES it, u = z, so that
      h_t = (1 - z) * h_{t-1} + z * n. (In the first paper, Cho et al., 2014, and in Keras, z = 1
      keeps in this form too: the same function, of weights with the other sign.)

    The first form needs one recurrent product a step, the second two, one after the other.

    Args:
      features: H, the width of the state and of the output.
      reset_after: whether the reset gate acts after the recurrent product or before it.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell, or
        of the other form; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.gru(4, reset_after=False)
    >>> cell
    gru(4, reset_after=False)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((7, 3)))[1].shape
    (7, 4)
    """
    name = f"gru({features})" if reset_after else f"gru({features}, reset_after=False)"
    check_features(name, features)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> GRUParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        return GRUParams(
            w_x=per_gate(w_x_init, 3)(key_x, (x.shape[0], 3 * features), x.dtype),
            w_h=per_gate(w_h_init, 3)(key_h, (features, 3 * features), x.dtype),
            b=jnp.zeros(3 * features, x.dtype),
            b_hn=jnp.zeros(features, x.dtype) if reset_after else None,
        )

    def initial_state(params: GRUParams) -> jax.Array:
        check_params(name, params, GRUParams, b=(3 * features,))
        if (params.b_hn is not None) != reset_after:
            raise ValueError(
                f"{name}: params.b_hn must be {'an array' if reset_after else 'None'}, got "
                f"{params.b_hn!r}; were the params made for the other form of the GRU?"
            )
        return jnp.zeros(features, params.b.dtype)

    def step(params: GRUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        x_r, x_z, x_n = jnp.split(x @ params.w_x + params.b, 3)
        if params.b_hn is not None:
            h_r, h_z, h_n = jnp.split(h @ params.w_h, 3)
            r = jax.nn.sigmoid(x_r + h_r)
            z = jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * (h_n + params.b_hn))
            h = z * h + (1 - z) * n
        else:
            w_rz, w_n = jnp.split(params.w_h, [2 * features], axis=1)
            h_r, h_z = jnp.split(h @ w_rz, 2)
            r = jax.nn.sigmoid(x_r + h_r)
            z = jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + (r * h) @ w_n)
            h = (1 - z) * h + z * n
        return h, h

    return Cell(init, initial_state, step, name)
