"""The diagonal structured state space model."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.cells.diagonal import (
    DiagonalState,
    advance,
    check_step_sizes,
    check_width,
    log_uniform,
    normal,
    widened,
    zero_order_hold,
)
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


class S4DParams(NamedTuple):
    """`a_re_log`, `a_im`, `c_re`, `c_im` [H, N/2]; `dt_log`, `d` [H]."""

    a_re_log: jax.Array
    a_im: jax.Array
    c_re: jax.Array
    c_im: jax.Array
    dt_log: jax.Array
    d: jax.Array


def s4d(
    features: int,
    *,
    state: int = 64,
    spectrum: str = "lin",
    dt_min: float = 0.001,
    dt_max: float = 0.1,
) -> Cell:
    """The diagonal structured state space model, S4D (Gu et al., 2022, arXiv:2206.11893), with
    zero-order hold.

        A = -exp(a_re_log) + i a_im,    dt = exp(dt_log)
        s_t = exp(dt A) * s_{t-1} + (exp(dt A) - 1) / A * x_t
        y_t = 2 Re(sum_n C_n s_t,n) + d * x_t

    Each of the H features is a system of its own with N states in complex conjugate pairs, of which
    one each is kept, s [H, N/2]; features mix in the next layer. B is 1: C does its work. `init`
    sets, for n = 0 to N/2 - 1,

        A_n = -1/2 + i pi n                              spectrum="lin", S4D-Lin
        A_n = -1/2 + i N/pi (N / (2n + 1) - 1)           spectrum="inv", S4D-Inv

    The state is `DiagonalState(re, im)`; the recurrence is linear, so that `method="associative"`
    runs it in O(log T) rounds.

    Args:
      features: H, the width of input and output.
      state: N, even.
      spectrum: "lin" or "inv", the eigenvalues at the start.
      dt_min: `init` draws dt log-uniformly from here to dt_max.
      dt_max: see `dt_min`.

    Raises:
      TypeError, ValueError: `features` is no positive int or `state` no even one; another
        `spectrum`; not 0 < dt_min <= dt_max; params or state of another cell; x is not a floating
        vector of width H.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.s4d(4, state=16)
    >>> params = cell.init(jax.random.key(0), jnp.ones(4))
    >>> s, ys = rx.unroll(cell, params, jnp.ones((7, 4)))
    >>> s.re.shape, ys.shape
    ((4, 8), (7, 4))
    """
    name = f"s4d({features}, state={state})"
    check_features(name, features)
    check_count(name, "state", state)
    check_step_sizes(name, dt_min, dt_max)
    if state % 2:
        raise ValueError(f"{name}: state must be even, as states come in pairs, got {state}")
    if spectrum not in ("lin", "inv"):
        raise ValueError(f"{name}: spectrum must be 'lin' or 'inv', got {spectrum!r}")
    shape = (features, state // 2)

    def init(key: jax.Array, x) -> S4DParams:
        x = input_struct(name, x)
        check_width(name, x, features)
        key_dt, key_re, key_im, key_d = split_key(name, key, 4)
        n = np.arange(state // 2)
        a_im = math.pi * n if spectrum == "lin" else state / math.pi * (state / (2 * n + 1) - 1)
        return S4DParams(
            a_re_log=jnp.full(shape, math.log(0.5), x.dtype),
            a_im=jnp.broadcast_to(jnp.asarray(a_im, x.dtype), shape),
            c_re=normal(key_re, shape, 0.5, x.dtype),
            c_im=normal(key_im, shape, 0.5, x.dtype),
            dt_log=log_uniform(key_dt, (features,), dt_min, dt_max, x.dtype),
            d=normal(key_d, (features,), 1.0, x.dtype),
        )

    def initial_state(params: S4DParams) -> DiagonalState:
        check_params(name, params, S4DParams, a_im=shape)
        zeros = jnp.zeros_like(params.a_im)
        return DiagonalState(zeros, zeros.copy())

    def step(params: S4DParams, s: DiagonalState, x: jax.Array, key=None):
        check_state(name, s, jax.eval_shape(initial_state, params))
        check_input(name, x, features)
        a_re_log, a_im, dt_log = widened(params.a_re_log, params.a_im, params.dt_log)
        a = jax.lax.complex(-jnp.exp(a_re_log), a_im)
        decay, b = zero_order_hold(a, jnp.exp(dt_log)[:, None])
        u, dtype = x[:, None], params.d.dtype
        drive = DiagonalState(b.real.astype(dtype) * u, b.imag.astype(dtype) * u)
        s = advance(decay, s, drive)
        y = 2 * (s.re * params.c_re - s.im * params.c_im).sum(-1) + params.d * x
        return s, y

    return Cell(init, initial_state, step, name)
