"""The simplified structured state space model."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

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


class S5Params(NamedTuple):
    """`a_re_log`, `a_im`, `dt_log` [N/2]; `b_re`, `b_im` [H, N/2]; `c_re`, `c_im` [N/2, H];
    `d` [H].
    """

    a_re_log: jax.Array
    a_im: jax.Array
    dt_log: jax.Array
    b_re: jax.Array
    b_im: jax.Array
    c_re: jax.Array
    c_im: jax.Array
    d: jax.Array


def s5(
    features: int,
    *,
    state: int = 64,
    blocks: int = 1,
    dt_min: float = 0.001,
    dt_max: float = 0.1,
) -> Cell:
    """The simplified structured state space model, S5 (Smith et al., 2023, arXiv:2208.04933), with
    zero-order hold.

        A = -exp(a_re_log) + i a_im,    dt = exp(dt_log)
        s_t = exp(dt A) * s_{t-1} + (exp(dt A) - 1) / A * (x_t B)
        y_t = 2 Re(s_t C) + d * x_t

    One system for all features, unlike S4D's one for each. Its N states come in complex conjugate
    pairs, of which one each is kept, s [N/2]. `init` starts with the eigenvalues A and, in the
    basis of its eigenvectors, random B and C of HiPPO-N, the normal part of the matrix that
    remembers a signal by its Legendre polynomials; or of J smaller ones, as blocks of one matrix,
    as in the paper's experiments. Before the change of basis B and C are real, of variance 1 / H
    and 1 / N (in the authors' code both 1 / N, and C complex). The state is
    `DiagonalState(re, im)`; the recurrence is linear, so that `method="associative"` runs it
    in O(log T) rounds.

    Args:
      features: H, the width of input and output.
      state: N, even.
      blocks: J; N / J must be even.
      dt_min: `init` draws each state's dt log-uniformly from here to dt_max.
      dt_max: see `dt_min`.

    Raises:
      TypeError, ValueError: `features` is no positive int or `state` no even one; `state` does not
        divide into `blocks` of an even width; not 0 < dt_min <= dt_max; params or state of another
        cell; x is not a floating vector of width H.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.s5(4, state=16)
    >>> params = cell.init(jax.random.key(0), jnp.ones(4))
    >>> s, ys = rx.unroll(cell, params, jnp.ones((7, 4)))
    >>> s.re.shape, ys.shape
    ((8,), (7, 4))
    """
    name = f"s5({features}, state={state}{'' if blocks == 1 else f', blocks={blocks}'})"
    check_features(name, features)
    check_count(name, "state", state)
    check_count(name, "blocks", blocks)
    check_step_sizes(name, dt_min, dt_max)
    if state % 2:
        raise ValueError(f"{name}: state must be even, as states come in pairs, got {state}")
    if state % (2 * blocks):
        raise ValueError(f"{name}: state must divide into {blocks} even blocks, got {state}")

    def init(key: jax.Array, x) -> S5Params:
        x = input_struct(name, x)
        check_width(name, x, features)
        key_dt, key_b, key_c, key_d = split_key(name, key, 4)
        a, vectors = hippo_normal(state // blocks)
        a, vectors = np.tile(a, blocks), np.kron(np.eye(blocks), vectors)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        b = normal(key_b, (features, state), 1 / features, wide)
        c = normal(key_c, (state, features), 1 / state, wide)
        v_re, v_im = jnp.asarray(vectors.real, wide), jnp.asarray(vectors.imag, wide)
        return S5Params(  # V^H b of columns b is b conj(V) of rows; C V of rows is V^T c of columns
            a_re_log=jnp.log(jnp.asarray(-a.real, wide)).astype(x.dtype),
            a_im=jnp.asarray(a.imag, x.dtype),
            dt_log=log_uniform(key_dt, (state // 2,), dt_min, dt_max, x.dtype),
            b_re=(b @ v_re).astype(x.dtype),
            b_im=(-b @ v_im).astype(x.dtype),
            c_re=(v_re.T @ c).astype(x.dtype),
            c_im=(v_im.T @ c).astype(x.dtype),
            d=normal(key_d, (features,), 1.0, x.dtype),
        )

    def initial_state(params: S5Params) -> DiagonalState:
        check_params(name, params, S5Params, a_im=(state // 2,), d=(features,))
        zeros = jnp.zeros_like(params.a_im)
        return DiagonalState(zeros, zeros.copy())

    def step(params: S5Params, s: DiagonalState, x: jax.Array, key=None):
        check_state(name, s, jax.eval_shape(initial_state, params))
        check_input(name, x, features)
        a_re_log, a_im, dt_log = widened(params.a_re_log, params.a_im, params.dt_log)
        a = jax.lax.complex(-jnp.exp(a_re_log), a_im)
        decay, b = zero_order_hold(a, jnp.exp(dt_log))
        b_re, b_im = b.real.astype(params.d.dtype), b.imag.astype(params.d.dtype)
        u_re, u_im = x @ params.b_re, x @ params.b_im
        drive = DiagonalState(b_re * u_re - b_im * u_im, b_re * u_im + b_im * u_re)
        s = advance(decay, s, drive)
        return s, 2 * (s.re @ params.c_re - s.im @ params.c_im) + params.d * x

    return Cell(init, initial_state, step, name)


def hippo_normal(n: int) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """HiPPO-N's n/2 eigenvalues with a positive imaginary part, and their eigenvectors [n, n/2].

    HiPPO-LegS is A_jk = -sqrt((2j + 1)(2k + 1)) for j > k, -(j + 1) for j = k, 0 above. With p p^T
    added, p_j = sqrt(j + 1/2), it is normal: -1/2 plus a skew-symmetric matrix.
    """
    p = np.sqrt(np.arange(n) + 0.5)
    outer = np.outer(p, p)
    skew = np.triu(outer, 1) - np.tril(outer, -1)
    imaginary, vectors = np.linalg.eigh(-1j * skew)  # in ascending order, in pairs of +-
    return -0.5 + 1j * imaginary[n // 2 :], vectors[:, n // 2 :]
