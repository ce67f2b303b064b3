"""The convolutional cells, one step each in NumPy, place by place."""

from __future__ import annotations

import math

import jax
import numpy as np

import recurrax as rx
from recurrax.core import as_cell
from tests.cells.entry import Entry, sigmoid


def convolve(x, w):
    """Every place sees its surroundings, weighted; what is outside the grid adds nothing."""
    *shape, _ = x.shape
    *kernel, _, out = w.shape
    y = np.zeros((*shape, out))
    for place in np.ndindex(*shape):
        for offset in np.ndindex(*kernel):
            seen = [p + o - (k - 1) // 2 for p, o, k in zip(place, offset, kernel, strict=True)]
            if all(0 <= s < extent for s, extent in zip(seen, shape, strict=True)):
                y[place] += x[tuple(seen)] @ w[offset]
    return y


def conv_lstm(params, state, x):
    c, h = state
    i, f, g, o = np.split(convolve(x, params.w_x) + convolve(h, params.w_h) + params.b, 4, axis=-1)
    p_i, p_f, p_o = (0 if p is None else p for p in (params.p_i, params.p_f, params.p_o))
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    return (c, h), h


def conv_gru(params, h, x):
    w_r, w_z, w_n = np.split(params.w_h, 3, axis=-1)
    x_r, x_z, x_n = np.split(convolve(x, params.w_x) + params.b, 3, axis=-1)
    r, z = sigmoid(x_r + convolve(h, w_r)), sigmoid(x_z + convolve(h, w_z))
    h = (1 - z) * h + z * np.tanh(x_n + convolve(r * h, w_n))
    return h, h


def flat(cell, shape):
    """A cell of grids as one of vectors, such as the contract suite hands in."""
    cell = as_cell(cell)

    def init(key, x):
        return cell.init(key, jax.ShapeDtypeStruct(shape, x.dtype))

    def step(params, state, x, key=None):
        state, y = cell.step(params, state, x.reshape(shape), key)
        return state, y.ravel()

    return rx.Cell(init, cell.initial_state, step, repr(cell))


def entry(name, make, reference, shape):
    def flat_reference(params, state, x):
        state, y = reference(params, state, x.reshape(shape))
        return state, y.ravel()

    return Entry(name, lambda: flat(make(), shape), flat_reference, math.prod(shape), checked=False)


ENTRIES = [
    entry("conv_lstm", lambda: rx.conv_lstm(2, (3, 2), (3, 2)), conv_lstm, (3, 2, 2)),
    entry("conv_gru", lambda: rx.conv_gru(2, (4,)), conv_gru, (4, 2)),
]
