"""xLSTM's cells, one step each in NumPy: no stabiliser in the equations, only in what is kept."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

import recurrax as rx
from recurrax.core import as_cell
from tests.cells.entry import Entry, sigmoid


def slstm(params, state, x, forget=sigmoid):
    c, n, h, m = state
    heads, width, _ = params.w_h.shape
    i, f, z, o = np.reshape(params.w_x.T @ x + params.b, (4, heads, width)) + [
        [
            h[k * width : (k + 1) * width] @ w[:, g * width : (g + 1) * width]
            for k, w in enumerate(params.w_h)
        ]
        for g in range(4)
    ]
    i, f, z, o = np.exp(i.ravel()), forget(f.ravel()), np.tanh(z.ravel()), sigmoid(o.ravel())
    scale = np.exp(m)
    m = np.maximum(np.log(f * scale), np.log(i)) if scale.any() else np.log(i)
    c, n = f * c * scale + i * z, f * n * scale + i
    h = o * c / n
    return (c / np.exp(m), n / np.exp(m), h, m), h


def mlstm(params, state, x, forget=sigmoid):
    c, n, m = state
    heads, width = n.shape
    q, k, v, o = np.reshape(params.w_x.T @ x + params.b, (4, heads, width))
    i, f = np.reshape(params.w_g.T @ x + params.b_g, (2, heads))
    scale = np.exp(m)
    states, hs = [], []
    for a in range(heads):
        gate_i, gate_f, key = np.exp(i[a]), forget(f[a]) * scale[a], k[a] / np.sqrt(width)
        memory = gate_f * c[a] + gate_i * np.outer(v[a], key)
        norm = gate_f * n[a] + gate_i * key
        hs.append(sigmoid(o[a]) * (memory @ q[a]) / max(abs(norm @ q[a]), 1))
        top = max(gate_f, gate_i)
        states.append((memory / top, norm / top, np.log(top)))
    state = tuple(np.stack(part) for part in zip(*states, strict=True))
    return state, np.concatenate(hs)


def log_normaliser(cell):
    """The sLSTM with log n for n in its state: whatever numbers are drawn for it, n is positive."""
    cell = as_cell(cell)

    def replaced(state, function):
        return state._replace(n=function(state.n)) if isinstance(state, rx.SLSTMState) else state

    def step(params, state, x, key=None):
        state, y = cell.step(params, replaced(state, jnp.exp), x, key)
        return replaced(state, jnp.log), y

    def initial_state(params):
        return replaced(cell.initial_state(params), jnp.log)

    return dataclasses.replace(cell, initial_state=initial_state, step=step)


def slstm_log_normaliser(params, state, x):
    (c, n, h, m), y = slstm(params, state._replace(n=np.exp(state.n)), x)
    return rx.SLSTMState(c, np.log(n), h, m), y


ENTRIES = [
    Entry("slstm", lambda: log_normaliser(rx.slstm(4, heads=2)), slstm_log_normaliser, 3),
    Entry("mlstm", lambda: rx.mlstm(4, heads=2), mlstm, 3),
]
