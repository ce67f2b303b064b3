"""Every cell, with one step of it in NumPy. One entry here inherits the whole contract suite."""

from __future__ import annotations

import jax
import numpy as np

import recurrax as rx
from tests.cells.entries_conv import ENTRIES as CONV_ENTRIES
from tests.cells.entries_gru import ENTRIES as GRU_ENTRIES
from tests.cells.entries_linear import ENTRIES as LINEAR_ENTRIES
from tests.cells.entries_lstm import ENTRIES as LSTM_ENTRIES
from tests.cells.entries_simple import ENTRIES as SIMPLE_ENTRIES
from tests.cells.entries_xlstm import ENTRIES as XLSTM_ENTRIES
from tests.cells.entry import Entry, sigmoid
from tests.cells.peephole import peephole_lstm


def elman(activation):
    def step(params, h, x):
        h = activation(params.w_x.T @ x + params.w_h.T @ h + params.b)
        return h, h

    return step


def lstm(params, state, x):
    c, h = state
    width = len(h)
    pre = x @ params.w_x + h @ params.w_h + params.b
    i, f, g, o = (pre[n * width : (n + 1) * width] for n in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def gru(params, h, x, reset_after):
    width = len(h)
    r_, z_, n_ = (slice(n * width, (n + 1) * width) for n in range(3))
    w_x, w_h, b = params.w_x, params.w_h, params.b
    r = sigmoid(x @ w_x[:, r_] + h @ w_h[:, r_] + b[r_])
    z = sigmoid(x @ w_x[:, z_] + h @ w_h[:, z_] + b[z_])
    if reset_after:  # z keeps, as in cuDNN
        n = np.tanh(x @ w_x[:, n_] + b[n_] + r * (h @ w_h[:, n_] + params.b_hn))
        h = z * h + (1 - z) * n
    else:  # z replaces, as in the texts
        n = np.tanh(x @ w_x[:, n_] + b[n_] + (r * h) @ w_h[:, n_])
        h = (1 - z) * h + z * n
    return h, h


def gru_after(params, h, x):
    return gru(params, h, x, True)


def gru_before(params, h, x):
    return gru(params, h, x, False)


def dense(params, state, x):
    return state, np.tanh(x @ params.w + params.b)


def peephole(params, state, x):
    c, h = state
    width = len(h)
    pre = np.concatenate([x, h]) @ params.w + params.b
    i, f, g, o = (pre[n * width : (n + 1) * width] for n in range(4))
    i, f = sigmoid(i + params.p_i * c), sigmoid(f + params.p_f * c)
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + params.p_o * c) * np.tanh(c)
    return (c, h), h


def stacked(*steps):
    def step(params, state, x):
        states = []
        for one, p, s in zip(steps, params, state, strict=True):
            s, x = one(p, s, x)
            states.append(s)
        return tuple(states), x

    return step


REGISTRY = [
    Entry("elman", lambda: rx.elman(4), elman(np.tanh), 3),
    Entry(
        "elman_relu",
        lambda: rx.elman(4, activation=jax.nn.relu),
        elman(lambda x: np.maximum(x, 0)),
        3,
    ),
    Entry("lstm", lambda: rx.lstm(4, forget_bias=-1.0), lstm, 3),
    Entry("gru", lambda: rx.gru(4), gru_after, 3),
    Entry("gru_reset_before", lambda: rx.gru(4, reset_after=False), gru_before, 3),
    Entry("dense", lambda: rx.dense(4, activation=jax.numpy.tanh), dense, 3),
    Entry("stack", lambda: rx.stack(rx.lstm(3), rx.gru(2)), stacked(lstm, gru_after), 3),
    Entry("naive_peephole", lambda: peephole_lstm(3), peephole, 3, checked=False),
    *LSTM_ENTRIES,
    *CONV_ENTRIES,
    *XLSTM_ENTRIES,
    *GRU_ENTRIES,
    *SIMPLE_ENTRIES,
    *LINEAR_ENTRIES,
]
