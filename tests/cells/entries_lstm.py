"""The LSTM's family, one step each in NumPy, a gate at a time."""

from __future__ import annotations

import functools

import numpy as np

import recurrax as rx
from tests.cells.entry import Entry, sigmoid


def pre_activations(params, h, x, blocks):
    """Of each block by its letter, from its own columns of the weights."""
    width = params.b.size // len(blocks)
    parts = {k: slice(n * width, (n + 1) * width) for n, k in enumerate(blocks)}
    return {
        k: params.w_x[:, s].T @ x + params.w_h[:, s].T @ h + params.b[s] for k, s in parts.items()
    }


def variant(params, state, x, blocks="ifgo", coupled=False, g=np.tanh, out=np.tanh):
    """Greff et al.'s equations, for the gates that have a block."""
    c, h = state[:2]
    pre = pre_activations(params, h, x, blocks)
    for k, p in zip("if", (params.p_i, params.p_f), strict=True):
        if p is not None:
            pre[k] = pre[k] + p * c
    if params.w_g is not None:
        gates = [k for k in blocks if k != "g"]
        for n, k in enumerate(gates):
            columns = slice(n * len(h), (n + 1) * len(h))
            pre[k] = pre[k] + params.w_g[:, columns].T @ state[2]
    i = sigmoid(pre["i"]) if "i" in pre else np.ones_like(c)
    f = sigmoid(pre["f"]) if "f" in pre else np.ones_like(c)
    if coupled:
        f = 1 - i
    c = f * c + i * g(pre["g"])
    if params.p_o is not None:
        pre["o"] = pre["o"] + params.p_o * c
    o = sigmoid(pre["o"]) if "o" in pre else np.ones_like(c)
    h = o * out(c)
    if params.w_g is None:
        return (c, h), h
    return (c, h, np.concatenate([{"i": i, "f": f, "o": o}[k] for k in gates])), h


lstm_1997 = functools.partial(
    variant,
    blocks="igo",
    g=lambda z: 4 * sigmoid(z) - 2,  # as the paper writes them
    out=lambda z: 2 * sigmoid(z) - 1,
)
coupled = functools.partial(variant, blocks="igo", coupled=True)


def projected(params, state, x):
    c, h = state
    pre = pre_activations(params, h, x, "ifgo")
    c = sigmoid(pre["f"]) * c + sigmoid(pre["i"]) * np.tanh(pre["g"])
    h = params.w_p.T @ (sigmoid(pre["o"]) * np.tanh(c))
    return (c, h), h


def normalised(v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


def layer_norm(params, state, x):
    c, h = state
    pre = params.g_x * normalised(params.w_x.T @ x) + params.g_h * normalised(params.w_h.T @ h)
    i, f, g, o = np.reshape(pre + params.b, (4, -1))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(params.g_c * normalised(c) + params.b_c)
    return (c, h), h


def depth_gated(params, state, x):
    states, below = [], None
    for p, (c, h) in zip(params, state, strict=True):
        width = len(c)
        from_x = np.reshape(p.w_x.T @ x + p.b, (-1, width))
        i, f, g, o = from_x[:4] + np.reshape(p.w_h.T @ h, (4, width))
        new = sigmoid(f + p.p_f * c) * c + sigmoid(i + p.p_i * c) * np.tanh(g)
        if below is not None:
            new = new + sigmoid(from_x[4] + p.p_d * c + p.p_l * below) * below
        x = sigmoid(o + p.p_o * new) * np.tanh(new)
        states.append((new, x))
        below = new
    return tuple(states), x


ENTRIES = [
    Entry("lstm_1997", lambda: rx.lstm_1997(4), lstm_1997, 3),
    Entry("peephole_lstm", lambda: rx.peephole_lstm(4, forget_bias=-1.0), variant, 3),
    Entry("peephole_lstm_f", lambda: rx.peephole_lstm(3, ("f",)), variant, 2),
    Entry("coupled_lstm", lambda: rx.coupled_lstm(4), coupled, 3),
    Entry("greff_lstm_fgr", lambda: rx.greff_lstm(3, full_gate_recurrence=True), variant, 2),
    Entry("projected_lstm", lambda: rx.projected_lstm(4, 3), projected, 2),
    Entry("layer_norm_lstm", lambda: rx.layer_norm_lstm(4), layer_norm, 3),
    Entry("depth_gated_lstm", lambda: rx.depth_gated_lstm(3, 3), depth_gated, 2),
]
