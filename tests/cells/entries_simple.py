"""The simple cells, one step of each in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from tests.cells.entry import Entry, sigmoid


def irnn(params, h, x):
    h = np.maximum(params.w_x.T @ x + params.w_h.T @ h + params.b, 0)
    return h, h


def jordan(params, y, x):
    h = np.tanh(params.w_x.T @ x + params.w_y.T @ y + params.b)
    y = sigmoid(params.w_o.T @ h + params.b_o)
    return y, y


def indrnn(params, h, x):
    pre = [params.w_x[:, n] @ x + params.u[n] * h[n] + params.b[n] for n in range(len(h))]
    h = np.array([max(a, 0) for a in pre])
    return h, h


def antisymmetric(epsilon, gamma, gated):
    def step(params, h, x):
        width = len(h)
        a = params.w_h - params.w_h.T - gamma * np.eye(width)
        pre = x @ params.w_x + params.b
        update = np.tanh(pre[:width] + h @ a)
        if gated:
            update = update * sigmoid(pre[width:] + h @ a)
        h = h + epsilon * update
        return h, h

    return step


def rhn(coupled):
    def step(params, y, x):
        width = len(y)
        gate = [slice(n * width, (n + 1) * width) for n in range(3)]
        s = y
        for layer, (w, b) in enumerate(zip(params.w_h, params.b, strict=True)):
            drive = x @ params.w_x if layer == 0 else np.zeros(w.shape[1])
            pre = drive + s @ w + b
            t = sigmoid(pre[gate[1]])
            c = 1 - t if coupled else sigmoid(pre[gate[2]])
            s = t * np.tanh(pre[gate[0]]) + c * s
        return s, s

    return step


def cornn(dt, gamma, epsilon):
    def step(params, state, x):
        y, z = state
        force = np.tanh(x @ params.w_x + y @ params.w_y + z @ params.w_z + params.b)
        z = z + dt * (force - gamma * y - epsilon * z)
        y = y + dt * z
        return (y, z), y

    return step


def lem(dt):
    def step(params, state, x):
        y, z = state
        width = len(y)
        d_, e_, z_, y_ = (slice(n * width, (n + 1) * width) for n in range(4))
        w_x, w_y, b = params.w_x, params.w_y, params.b
        d = dt * sigmoid(x @ w_x[:, d_] + y @ w_y[:, d_] + b[d_])
        e = dt * sigmoid(x @ w_x[:, e_] + y @ w_y[:, e_] + b[e_])
        z = (1 - d) * z + d * np.tanh(x @ w_x[:, z_] + y @ w_y[:, z_] + b[z_])
        y = (1 - e) * y + e * np.tanh(x @ w_x[:, y_] + z @ params.w_z + b[y_])
        return (y, z), y

    return step


def clockwork(periods):
    """Module by module, unit by unit; the counter as `float_counter` has it."""

    def step(params, state, x):
        h, t = state
        count = int(np.round(t))
        width = len(h) // len(periods)
        new = h.copy()
        for i, period in enumerate(periods):
            if count % period:
                continue
            for unit in range(width):
                n = i * width + unit
                pre = x @ params.w_x[:, n] + params.b[n]
                for j in range(i, len(periods)):  # itself and the slower ones
                    rows = slice((j - i) * width, (j - i + 1) * width)
                    pre = pre + h[j * width : (j + 1) * width] @ params.w_h[i][rows, unit]
                new[n] = np.tanh(pre)
        count = int(np.fmod(count + 1, np.lcm.reduce(periods)))
        return (new, np.float64(count)), new

    return step


def float_counter(cell):
    """A clockwork cell whose counter is a float, rounded inside.

    The contract suite draws every leaf of a state from a normal distribution, and differentiates.
    """

    def from_float(state):
        if not isinstance(state, rx.ClockworkState):
            return state
        return state._replace(t=jnp.round(state.t).astype(jnp.int32))

    def to_float(state):
        return state._replace(t=state.t.astype(state.h.dtype))

    def step(params, state, x, key=None):
        state, y = cell.step(params, from_float(state), x, key)
        return to_float(state), y

    return rx.Cell(cell.init, lambda p: to_float(cell.initial_state(p)), step, cell.name)


ENTRIES = [
    Entry("irnn", lambda: rx.irnn(4, scale=0.5), irnn, 3),
    Entry("jordan", lambda: rx.jordan(4, 2), jordan, 3),
    Entry("indrnn", lambda: rx.indrnn(4), indrnn, 3),
    Entry(
        "antisymmetric", lambda: rx.antisymmetric(4, 0.3, 0.2), antisymmetric(0.3, 0.2, False), 3
    ),
    Entry(
        "antisymmetric_gated",
        lambda: rx.antisymmetric(4, 0.3, 0.2, gated=True),
        antisymmetric(0.3, 0.2, True),
        3,
    ),
    Entry("rhn", lambda: rx.rhn(4, 3), rhn(True), 3),
    Entry("rhn_uncoupled", lambda: rx.rhn(4, 2, coupled=False), rhn(False), 3),
    Entry(
        "cornn",
        lambda: rx.cornn(4, dt=0.3, gamma=0.7, epsilon=1.3),
        cornn(0.3, 0.7, 1.3),
        3,
    ),
    Entry("lem", lambda: rx.lem(4, dt=0.8), lem(0.8), 3),
    Entry(
        "clockwork",
        lambda: float_counter(rx.clockwork(6, (1, 2, 3), w_h_init=jax.nn.initializers.normal(0.5))),
        clockwork((1, 2, 3)),
        3,
    ),
]
