"""The GRU's relatives, one step of each in NumPy."""

from __future__ import annotations

import numpy as np

import recurrax as rx
from tests.cells.entry import Entry, sigmoid


def ugrnn(params, h, x):
    width = len(h)
    pre = x @ params.w_x + h @ params.w_h + params.b
    g = sigmoid(pre[:width])
    h = g * h + (1 - g) * np.tanh(pre[width:])
    return h, h


def mgu(params, h, x, reset_after):
    width = len(h)
    f_, n_ = slice(0, width), slice(width, 2 * width)
    w_x, w_h, b = params.w_x, params.w_h, params.b
    f = sigmoid(x @ w_x[:, f_] + h @ w_h[:, f_] + b[f_])
    if reset_after:  # f keeps, as in flax
        n = np.tanh(x @ w_x[:, n_] + b[n_] + f * (h @ w_h[:, n_] + params.b_hn))
        h = f * h + (1 - f) * n
    else:  # f replaces, as in the paper
        n = np.tanh(x @ w_x[:, n_] + b[n_] + (f * h) @ w_h[:, n_])
        h = (1 - f) * h + f * n
    return h, h


def normalised(a):
    return (a - a.mean()) / np.sqrt(a.var() + 1e-2)


def layer_norm_gru(params, h, x):
    width = len(h)
    rz, n_ = slice(0, 2 * width), slice(2 * width, 3 * width)
    from_x, from_h = x @ params.w_x, h @ params.w_h
    gates = sigmoid(
        normalised(from_x[rz]) * params.g_x[rz]
        + normalised(from_h[rz]) * params.g_h[rz]
        + params.b[rz]
    )
    r, z = gates[:width], gates[width:]
    inner = normalised(from_h[n_]) * params.g_h[n_] + params.b_hn
    n = np.tanh(normalised(from_x[n_]) * params.g_x[n_] + params.b[n_] + r * inner)
    h = (1 - z) * h + z * n
    return h, h


ENTRIES = [
    Entry("ugrnn", lambda: rx.ugrnn(4, forget_bias=-0.5), ugrnn, 3),
    Entry("mgu", lambda: rx.mgu(4), lambda p, h, x: mgu(p, h, x, True), 3),
    Entry(
        "mgu_reset_before",
        lambda: rx.mgu(4, reset_after=False),
        lambda p, h, x: mgu(p, h, x, False),
        3,
    ),
    Entry("layer_norm_gru", lambda: rx.layer_norm_gru(4, epsilon=1e-2), layer_norm_gru, 3),
]
