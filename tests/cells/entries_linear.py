"""The linear recurrences, one step of each in NumPy, with complex numbers as such."""

from __future__ import annotations

import jax
import numpy as np

import recurrax as rx
from tests.cells.entry import Entry, sigmoid


def complex_parts(s):
    return s.real, s.imag


def lru(params, state, x):
    s = state[0] + 1j * state[1]
    decay = np.exp(-np.exp(params.nu_log) + 1j * np.exp(params.theta_log))
    s = decay * s + np.exp(params.gamma_log) * (x @ (params.b_re + 1j * params.b_im))
    return complex_parts(s), (s @ (params.c_re + 1j * params.c_im)).real + x @ params.d


def discretised(params, dt):
    a = -np.exp(params.a_re_log) + 1j * params.a_im
    return np.exp(dt * a), (np.exp(dt * a) - 1) / a


def s4d(params, state, x):
    s = state[0] + 1j * state[1]
    decay, b = discretised(params, np.exp(params.dt_log)[:, None])
    s = decay * s + b * x[:, None]
    y = 2 * (s * (params.c_re + 1j * params.c_im)).real.sum(1) + params.d * x
    return complex_parts(s), y


def s5(params, state, x):
    s = state[0] + 1j * state[1]
    decay, b = discretised(params, np.exp(params.dt_log))
    s = decay * s + b * (x @ (params.b_re + 1j * params.b_im))
    y = 2 * (s @ (params.c_re + 1j * params.c_im)).real + params.d * x
    return complex_parts(s), y


def rg_lru(params, h, x):
    def gate(w, b):
        blocks = np.split(x, len(w))
        return sigmoid(np.concatenate([v @ m for v, m in zip(blocks, w, strict=True)]) + b)

    r, i = gate(params.w_a, params.b_a), gate(params.w_x, params.b_x)
    a = sigmoid(params.lam) ** (8 * r)
    h = a * h + np.sqrt(1 - a**2) * (i * x)
    return h, h


def min_gru(activation):
    def step(params, h, x):
        z, n = np.split(x @ params.w + params.b, 2)
        h = (1 - sigmoid(z)) * h + sigmoid(z) * activation(n)
        return h, h

    return step


def min_lstm(params, h, x):
    f, i, n = np.split(x @ params.w + params.b, 3)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * n
    return h, h


def positive(x):
    return np.where(x >= 0, x + 0.5, sigmoid(x))


def positive_jax(x):
    return jax.numpy.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


ENTRIES = [
    # Phases of a few radians at most: their rounding is in the state to the power of T.
    Entry("lru", lambda: rx.lru(4, state=3, r_min=0.4, r_max=0.99, max_phase=1.5), lru, 3),
    Entry("rg_lru", lambda: rx.rg_lru(4), rg_lru, 4),
    Entry("rg_lru_blocks", lambda: rx.rg_lru(4, blocks=2, a_min=0.1, a_max=0.6), rg_lru, 4),
    Entry("min_gru", lambda: rx.min_gru(4), min_gru(lambda n: n), 3),
    Entry("min_gru_positive", lambda: rx.min_gru(4, activation=positive_jax), min_gru(positive), 3),
    Entry("min_lstm", lambda: rx.min_lstm(4, forget_bias=1.0), min_lstm, 3),
    Entry("s4d", lambda: rx.s4d(4, state=6), s4d, 4),
    Entry("s4d_inv", lambda: rx.s4d(4, state=4, spectrum="inv", dt_max=0.5), s4d, 4),
    Entry("s5", lambda: rx.s5(4, state=6), s5, 4),
]
