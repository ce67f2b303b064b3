"""The cells in other forms in which their authors, or the papers, publish them.

The registry's references go through the docstrings' equations step by step. Here a whole sequence
is computed another way, or from weights laid out as in the published code, so that a misreading
common to a docstring and its reference would show. Where a form is that of a repository, it is
named; the lines here are our own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.entry import sigmoid
from tests.cells.following import noisy
from tests.support import x64

T, D, H = 7, 3, 4


def assert_runs_as(cell, params, xs, expected):
    with x64():
        ys = rx.unroll(cell, jax.tree.map(jnp.asarray, params), jnp.asarray(xs))[1]
    np.testing.assert_allclose(ys, expected, rtol=1e-10, atol=1e-12)


def drawn(cell, width=D):
    """Params with noise on every leaf, and inputs [T, width]; both of NumPy."""
    rng = np.random.default_rng(2)
    with x64():
        params = noisy(cell, jnp.zeros(width))
    return params, rng.normal(size=(T, width))


def softplus(x):
    return np.logaddexp(x, 0)


def test_mlstm_is_attention_with_a_decay():
    """The parallel form (Beck et al., 2024, appendix; NX-AI/xlstm, mlstm/backends.py): scores
    q_t k_s / sqrt(d) times exp(i_s) f_{s+1} ... f_t, divided by the size of their sum, at least 1.
    """
    heads, d = 2, 3
    cell = rx.mlstm(heads * d, heads)
    params, xs = drawn(cell)
    q, k, v, o = ((xs @ params.w_x + params.b).reshape(T, 4, heads, d)).transpose(1, 2, 0, 3)
    i, f = ((xs @ params.w_g + params.b_g).reshape(T, 2, heads)).transpose(1, 2, 0)
    kept = np.cumsum(-softplus(-f), axis=1)
    decay = np.tril(np.exp(kept[:, :, None] - kept[:, None, :] + i[:, None, :]))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(d) * decay
    read = scores @ v / np.maximum(np.abs(scores.sum(-1, keepdims=True)), 1)
    assert (np.abs(scores.sum(-1)) < 1).any(), "both sides of the maximum count"
    assert (np.abs(scores.sum(-1)) > 1).any()
    expected = (sigmoid(o) * read).transpose(1, 0, 2).reshape(T, -1)
    assert_runs_as(cell, params, xs, expected)


def positive(x):
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def in_log_space(log_keep, log_write, n):
    """h_t as exp(sum of log_keep) times a running logsumexp; what is written is positive."""
    log_n = np.where(n >= 0, np.log(np.maximum(n, 0) + 0.5), -softplus(-n))
    kept = np.cumsum(log_keep, axis=0)
    return np.exp(kept + np.logaddexp.accumulate(log_write + log_n - kept, axis=0))


def test_min_gru_and_min_lstm_in_log_space():
    """Feng et al., 2024, appendix B: the form in which they are trained."""
    cell = rx.min_gru(H, activation=positive)
    params, xs = drawn(cell)
    z, n = np.split(xs @ params.w + params.b, 2, axis=1)
    assert_runs_as(cell, params, xs, in_log_space(-softplus(z), -softplus(-z), n))

    cell = rx.min_lstm(H, activation=positive)
    params, xs = drawn(cell)
    f, i, n = np.split(xs @ params.w + params.b, 3, axis=1)
    ratio = softplus(-f) - softplus(-i)
    assert_runs_as(cell, params, xs, in_log_space(-softplus(ratio), -softplus(-ratio), n))


def test_rg_lru_is_recurrentgemmas():
    """google-deepmind/recurrentgemma, jax/layers.py, but for its first step, which it does not
    scale: log a = -8 r softplus(a_param), a_param = -lam.
    """
    cell = rx.rg_lru(H, blocks=2)
    params, xs = drawn(cell, H)
    a_param = -params.lam

    def gate(w, b):
        matrix = np.block([[w[0], np.zeros((2, 2))], [np.zeros((2, 2)), w[1]]])
        return sigmoid(xs @ matrix + b)

    log_a = -8 * gate(params.w_a, params.b_a) * softplus(a_param)
    written = np.sqrt(1 - np.exp(2 * log_a)) * gate(params.w_x, params.b_x) * xs
    kept = np.cumsum(log_a, axis=0)
    decay = np.tril(np.exp(kept.T[:, :, None] - kept.T[:, None, :]))  # [H, T, T]
    assert_runs_as(cell, params, xs, np.einsum("hts,sh->th", decay, written))


def test_lru_is_a_sum_over_powers():
    """Orvieto et al., 2023: y_t = Re(C sum_s diag(lambda)^(t-s) gamma B x_s) + D x_t."""
    cell = rx.lru(H, state=5, r_min=0.5, r_max=0.9)
    params, xs = drawn(cell)
    lam = np.exp(-np.exp(params.nu_log)) * np.exp(1j * np.exp(params.theta_log))
    b = (np.exp(params.gamma_log) * (params.b_re + 1j * params.b_im)).T
    c, d = (params.c_re + 1j * params.c_im).T, params.d.T
    expected = [
        sum((c @ np.diag(lam ** (t - s)) @ b @ xs[s]).real for s in range(t + 1)) + d @ xs[t]
        for t in range(T)
    ]
    assert_runs_as(cell, params, xs, expected)


def test_cornn_of_the_published_layout():
    """tk-rusch/coRNN: one layer of [x, z, y], velocities before positions, and columns."""
    cell = rx.cornn(H, dt=0.2, gamma=1.3, epsilon=0.9)
    params, xs = drawn(cell)
    weight = np.concatenate([params.w_x, params.w_z, params.w_y]).T
    y = z = np.zeros(H)
    expected = []
    for x in xs:
        force = np.tanh(weight @ np.concatenate([x, z, y]) + params.b)
        z = z + 0.2 * (force - 1.3 * y - 0.9 * z)
        y = y + 0.2 * z
        expected.append(y)
    assert_runs_as(cell, params, xs, expected)


def test_lem_of_the_published_layout():
    """tk-rusch/LEM: blocks step of y, step of z, y, z of the input's matrix; step of y, step of z,
    z of the output's.
    """
    cell = rx.lem(H, dt=0.7)
    params, xs = drawn(cell)

    def blocks(leaf, order):
        parts = np.split(leaf, leaf.shape[-1] // H, axis=-1)
        return np.concatenate([parts[n] for n in order], axis=-1).T

    inp2hid, b = blocks(params.w_x, (1, 0, 3, 2)), blocks(params.b, (1, 0, 3, 2))
    hid2hid = blocks(params.w_y, (1, 0, 2))
    y = z = np.zeros(H)
    expected = []
    for x in xs:
        x_e, x_d, x_y, x_z = np.split(inp2hid @ x + b, 4)
        y_e, y_d, y_z = np.split(hid2hid @ y, 3)
        d, e = 0.7 * sigmoid(x_d + y_d), 0.7 * sigmoid(x_e + y_e)
        z = z - d * z + d * np.tanh(x_z + y_z)
        y = y - e * y + e * np.tanh(x_y + params.w_z.T @ z)
        expected.append(y)
    assert_runs_as(cell, params, xs, expected)


def test_clockwork_by_a_block_upper_triangular_matrix():
    """Koutnik et al., 2014, equations 2 to 4: rows of W_H and W_I, which multiply columns, are zero
    in the modules that are not due, and elsewhere from the diagonal block on.
    """
    periods, width = (1, 2, 4), 2
    features = width * len(periods)
    cell = rx.clockwork(features, periods)
    params, xs = drawn(cell)
    w_h, w_i = np.zeros((features, features)), params.w_x.T
    for n, block in enumerate(params.w_h):
        w_h[n * width : (n + 1) * width, n * width :] = block.T
    y, expected = np.zeros(features), []
    for t, x in enumerate(xs):
        due = np.repeat([t % period == 0 for period in periods], width)
        y = np.where(due, np.tanh(w_h @ y + w_i @ x + params.b), y)
        expected.append(y)
    assert_runs_as(cell, params, xs, expected)


def test_rhn_moves_its_state_towards_the_candidate():
    """jzilly/RecurrentHighwayNetworks, rhn.py: s + t (h - s), one matrix of [x, s] a gate."""
    cell = rx.rhn(H, 2)
    params, xs = drawn(cell)
    s, expected = np.zeros(H), []
    for x in xs:
        for layer in range(2):
            seen = np.concatenate([x * (layer == 0), s])
            matrix = np.concatenate([params.w_x, params.w_h[layer]])
            h, t = np.split(seen @ matrix + params.b[layer], 2)
            s = s + sigmoid(t) * (np.tanh(h) - s)
        expected.append(s)
    assert_runs_as(cell, params, xs, expected)


def test_the_gru_of_cho_et_al_has_the_other_sign():
    """Cho et al., 2014, equations 5 to 8: h_t = z h_{t-1} + (1 - z) n, the reset before."""
    cell = rx.gru(H, reset_after=False)
    params, xs = drawn(cell)
    signs = np.repeat([1, -1, 1], H)
    w, u, b = signs * params.w_x, signs * params.w_h, signs * params.b
    h, expected = np.zeros(H), []
    for x in xs:
        r, z = np.split(sigmoid(x @ w[:, : 2 * H] + h @ u[:, : 2 * H] + b[: 2 * H]), 2)
        n = np.tanh(x @ w[:, 2 * H :] + (r * h) @ u[:, 2 * H :] + b[2 * H :])
        h = z * h + (1 - z) * n
        expected.append(h)
    assert_runs_as(cell, params, xs, expected)


@pytest.mark.parametrize(
    ("make", "b", "c"),
    [
        (lambda: rx.lru(200, state=160), 1 / 200, 2 / 160),
        (lambda: rx.s4d(200, state=64), None, 1.0),
        (lambda: rx.s5(200, state=160), 1 / 200, 1 / 160),
        (lambda: rx.s5(200, state=160, blocks=4), 1 / 200, 1 / 160),
    ],
)
def test_linear_cells_start_with_the_published_variances(make, b, c):
    """E |B|^2 and E |C|^2 of complex weights; within 5 standard errors, of at most sqrt(2 / n)."""
    params = make().init(jax.random.key(0), jnp.ones(200))
    for re, im, variance in [("b_re", "b_im", b), ("c_re", "c_im", c)]:
        if variance is not None:
            squared = np.asarray(getattr(params, re)) ** 2 + np.asarray(getattr(params, im)) ** 2
            assert abs(squared.mean() / variance - 1) < 5 * np.sqrt(2 / squared.size)
