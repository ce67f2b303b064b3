"""The real-gated linear recurrent unit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells.diagonal import check_width, widened
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
from recurrax.initializers import Initializer, lecun_normal

_C = 8.0  # the paper's c


class RGLRUParams(NamedTuple):
    """`w_a`, `w_x` [G, H/G, H/G], the G blocks of the gates' matrices; `b_a`, `b_x`, `lam` [H]."""

    w_a: jax.Array
    w_x: jax.Array
    b_a: jax.Array
    b_x: jax.Array
    lam: jax.Array


def rg_lru(
    features: int,
    *,
    blocks: int = 1,
    a_min: float = 0.9,
    a_max: float = 0.999,
    w_init: Initializer = lecun_normal,
) -> Cell:
    """The real-gated linear recurrent unit, RG-LRU (De et al., "Griffin", 2024, arXiv:2402.19427).

        r_t = sigmoid(x_t W_a + b_a)                 recurrence gate
        i_t = sigmoid(x_t W_x + b_x)                 input gate
        a_t = sigmoid(lam)^(8 r_t)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * x_t),    y_t = h_t

    No gate sees the state, so that the recurrence is linear in it and `method="associative"` runs
    it in O(log T) rounds. W_a and W_x are block diagonal, of `blocks` square blocks. The state is
    h, an array [H]; x is as wide as it. RecurrentGemma's a_param is -lam; its code differs in two
    things: it draws sigmoid(lam) itself between 0.9 and 0.999, and the first step of a sequence,
    which has nothing to keep, takes i_t * x_t undiminished.

    Args:
      features: H, the width of input, state and output.
      blocks: G, a divisor of H.
      a_min: `init` draws lam such that sigmoid(lam)^8, the decay where r_t = 1, is uniform between
        this and a_max.
      a_max: see `a_min`; less than 1.
      w_init: draws each block of W_a and W_x.

    Raises:
      TypeError, ValueError: `features` or `blocks` is no positive int, or the one does not divide
        by the other; not 0 < a_min <= a_max < 1; params or state of another cell; x is not a
        floating vector of width H.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.rg_lru(4, blocks=2)
    >>> params = cell.init(jax.random.key(0), jnp.ones(4))
    >>> rx.unroll(cell, params, jnp.ones((7, 4)))[1].shape
    (7, 4)
    """
    name = f"rg_lru({features})" if blocks == 1 else f"rg_lru({features}, blocks={blocks})"
    check_features(name, features)
    check_count(name, "blocks", blocks)
    check_function(name, "w_init", w_init)
    if features % blocks:
        raise ValueError(f"{name}: features must divide into {blocks} blocks, got {features}")
    if not 0 < a_min <= a_max < 1:
        raise ValueError(f"{name}: expected 0 < a_min <= a_max < 1, got {a_min} and {a_max}")

    def init(key: jax.Array, x) -> RGLRUParams:
        x = input_struct(name, x)
        check_width(name, x, features)
        key_a, key_x, key_lam = split_key(name, key, 3)
        width, wide = features // blocks, jnp.promote_types(x.dtype, jnp.float32)

        def gate(key: jax.Array) -> jax.Array:
            keys = split_key(name, key, blocks)
            return jnp.stack([w_init(k, (width, width), wide) for k in keys]).astype(x.dtype)

        log_a = jnp.log(jax.random.uniform(key_lam, (features,), wide, a_min, a_max)) / _C
        return RGLRUParams(
            w_a=gate(key_a),
            w_x=gate(key_x),
            b_a=jnp.zeros(features, x.dtype),
            b_x=jnp.zeros(features, x.dtype),
            lam=(log_a - jnp.log(-jnp.expm1(log_a))).astype(x.dtype),  # the inverse of sigmoid
        )

    def initial_state(params: RGLRUParams) -> jax.Array:
        width = features // blocks
        check_params(name, params, RGLRUParams, w_a=(blocks, width, width), lam=(features,))
        return jnp.zeros_like(params.lam)

    def step(params: RGLRUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, features)

        def gate(w: jax.Array, b: jax.Array) -> jax.Array:
            return jax.nn.sigmoid(jnp.einsum("gi,gij->gj", x.reshape(blocks, -1), w).ravel() + b)

        r, i = gate(params.w_a, params.b_a), gate(params.w_x, params.b_x)
        lam, r_wide = widened(params.lam, r)
        log_a = _C * r_wide * jax.nn.log_sigmoid(lam)  # near 0, where a itself would lose 1 - a
        # A gate that is shut for good, r = 0, has no gradient rather than infinity times zero.
        rest = jnp.maximum(-jnp.expm1(2 * log_a), jnp.finfo(log_a.dtype).tiny)
        # In half precision the decay is not rounded, but the state is, once a step.
        h = (jnp.exp(log_a) * h + jnp.sqrt(rest) * (i * x)).astype(r.dtype)
        return h, h

    return Cell(init, initial_state, step, name)
