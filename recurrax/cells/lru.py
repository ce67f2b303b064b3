"""The linear recurrent unit."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells.diagonal import DiagonalState, advance, normal, widened
from recurrax.checks import check_count
from recurrax.core import (
    Cell,
    check_features,
    check_input,
    check_params,
    check_state,
    input_struct,
    split_key,
)
from recurrax.initializers import ring


class LRUParams(NamedTuple):
    """`nu_log`, `theta_log`, `gamma_log` [N]; `b_re`, `b_im` [D, N]; `c_re`, `c_im` [N, H];
    `d` [D, H].
    """

    nu_log: jax.Array
    theta_log: jax.Array
    gamma_log: jax.Array
    b_re: jax.Array
    b_im: jax.Array
    c_re: jax.Array
    c_im: jax.Array
    d: jax.Array


def lru(
    features: int,
    *,
    state: int = 64,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
) -> Cell:
    """The linear recurrent unit, LRU (Orvieto et al., 2023, arXiv:2303.06349).

        lambda = exp(-exp(nu_log) + i exp(theta_log))
        s_t = lambda * s_{t-1} + exp(gamma_log) * (x_t B)
        y_t = Re(s_t C) + x_t D

    s is complex [N], B = b_re + i b_im and C = c_re + i c_im; |lambda| < 1 whatever the params.
    `init` draws lambda uniformly from the ring r_min <= |lambda| <= r_max with a phase up to
    `max_phase`, and starts with exp(gamma_log) = sqrt(1 - |lambda|^2), which keeps the state's
    variance at that of its input. The paper's text has a matrix D; its code a diagonal one. The
    state is `DiagonalState(re, im)`; the recurrence is linear, so that `method="associative"` runs
    it in O(log T) rounds.

    Args:
      features: H, the width of the output.
      state: N, the number of complex states.
      r_min: the inner radius of the ring.
      r_max: its outer radius, at most 1; near 1 for long memory.
      max_phase: the largest angle, in radians; small for long sequences (the paper's pi / 10).

    Raises:
      TypeError, ValueError: `features` or `state` is no positive int; not 0 <= r_min < r_max <= 1;
        `max_phase` not in (0, 2 pi]; params or state of another cell; x is not a floating vector
        of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lru(4, state=8, r_min=0.9, r_max=0.99)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> s, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> s.re.shape, ys.shape
    ((8,), (7, 4))
    """
    name = f"lru({features}, state={state})"
    check_features(name, features)
    check_count(name, "state", state)
    ring_init = ring(r_min, r_max, max_phase)

    def init(key: jax.Array, x) -> LRUParams:
        x = input_struct(name, x)
        keys = split_key(name, key, 6)
        nu_log, theta_log = ring_init(keys[0], (2, state), jnp.promote_types(x.dtype, jnp.float32))
        squared_modulus_minus_1 = jnp.expm1(-2 * jnp.exp(nu_log))
        width, dtype = x.shape[0], x.dtype
        return LRUParams(
            nu_log=nu_log.astype(dtype),
            theta_log=theta_log.astype(dtype),
            gamma_log=(jnp.log(-squared_modulus_minus_1) / 2).astype(dtype),
            b_re=normal(keys[1], (width, state), 1 / (2 * width), dtype),
            b_im=normal(keys[2], (width, state), 1 / (2 * width), dtype),
            c_re=normal(keys[3], (state, features), 1 / state, dtype),
            c_im=normal(keys[4], (state, features), 1 / state, dtype),
            d=normal(keys[5], (width, features), 1 / width, dtype),
        )

    def initial_state(params: LRUParams) -> DiagonalState:
        check_params(name, params, LRUParams, nu_log=(state,))
        zeros = jnp.zeros_like(params.nu_log)
        return DiagonalState(zeros, zeros.copy())

    def step(params: LRUParams, s: DiagonalState, x: jax.Array, key=None):
        check_state(name, s, jax.eval_shape(initial_state, params))
        check_input(name, x, params.b_re.shape[0])
        nu_log, theta_log = widened(params.nu_log, params.theta_log)
        decay = jnp.exp(jax.lax.complex(-jnp.exp(nu_log), jnp.exp(theta_log)))
        gamma = jnp.exp(params.gamma_log)
        s = advance(decay, s, DiagonalState(gamma * (x @ params.b_re), gamma * (x @ params.b_im)))
        return s, s.re @ params.c_re - s.im @ params.c_im + x @ params.d

    return Cell(init, initial_state, step, name)
