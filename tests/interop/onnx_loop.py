"""ONNX's RNN, GRU and LSTM from the standard's text: loops over directions, examples, steps."""

from __future__ import annotations

from typing import Any

import numpy as np

TAKES_ALPHA = ["Affine", "ScaledTanh", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Elu"]
TAKES_BETA = ["Affine", "ScaledTanh", "HardSigmoid"]
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ALPHA = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Elu": 1.0}


def activate(name: str, x: np.ndarray, alpha: Any, beta: Any) -> np.ndarray:
    return {
        "Relu": lambda: np.maximum(0, x),
        "Tanh": lambda: (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Affine": lambda: alpha * x + beta,
        "LeakyRelu": lambda: np.where(x >= 0, x, alpha * x),
        "ThresholdedRelu": lambda: np.where(x >= alpha, x, 0),
        "ScaledTanh": lambda: alpha * np.tanh(beta * x),
        "HardSigmoid": lambda: np.minimum(np.maximum(alpha * x + beta, 0), 1),
        "Elu": lambda: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
        "Softsign": lambda: x / (1 + np.abs(x)),
        "Softplus": lambda: np.log(1 + np.exp(x)),
    }[name]()


def functions(op_type, attributes, directions):
    """The activations of each direction, alphas and betas handed out in order."""
    names = attributes.get("activations") or DEFAULTS[op_type] * directions
    alphas = list(attributes.get("activation_alpha") or [])
    betas = list(attributes.get("activation_beta") or [])
    clip = attributes.get("clip", np.inf)
    result = []
    for name in names:
        alpha, beta = ALPHA.get(name), 0.5
        if name in TAKES_ALPHA and alphas:
            alpha = alphas.pop(0)
        if name in TAKES_BETA and betas:
            beta = betas.pop(0)
        # ONNX Runtime, and so we, do not clip the c_t that the LSTM's third activation sees.
        bound = np.inf if op_type == "LSTM" and len(result) % 3 == 2 else clip
        result.append(
            lambda x, n=name, a=alpha, b=beta, m=bound: activate(n, np.clip(x, -m, m), a, b)
        )
    count = len(names) // directions
    return [result[d * count : (d + 1) * count] for d in range(directions)]


def step(op_type, attributes, fs, x, h, c, W, R, B, P):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op_type]
    ws, rs = np.split(W, gates), np.split(R, gates)
    wb, rb = np.split(B[: len(B) // 2], gates), np.split(B[len(B) // 2 :], gates)

    def pre(n):
        return ws[n] @ x + rs[n] @ h + wb[n] + rb[n]

    if op_type == "RNN":
        return fs[0](pre(0)), c
    if op_type == "GRU":
        f, g = fs
        z, r = f(pre(0)), f(pre(1))
        if attributes.get("linear_before_reset"):
            n = g(ws[2] @ x + r * (rs[2] @ h + rb[2]) + wb[2])
        else:
            n = g(ws[2] @ x + rs[2] @ (r * h) + rb[2] + wb[2])
        return (1 - z) * n + z * h, c
    f, g, last = fs
    p_i, p_o, p_f = np.split(P, 3)
    i = f(pre(0) + p_i * c)
    forget = 1 - i if attributes.get("input_forget") else f(pre(2) + p_f * c)
    c = forget * c + i * g(pre(3))
    o = f(pre(1) + p_o * c)
    return o * last(c), c


def run(
    op_type, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None,
    **attributes,
):  # fmt: skip
    """(Y, Y_h) or (Y, Y_h, Y_c), in the layout that `attributes` name."""
    layout, direction = attributes.get("layout", 0), attributes.get("direction", "forward")
    X = X.swapaxes(0, 1) if layout else X
    T, batch, _ = X.shape
    directions, _, H = R.shape
    lengths = np.full(batch, T) if sequence_lens is None else sequence_lens

    def start(value):
        if value is None:
            return np.zeros((directions, batch, H))
        return (value.swapaxes(0, 1) if layout else value).copy()

    Y, Y_h, Y_c = np.zeros((T, directions, batch, H)), start(initial_h), start(initial_c)
    B = np.zeros((directions, 2 * W.shape[1])) if B is None else B
    P = np.zeros((directions, 3 * H)) if P is None else P
    fs = functions(op_type, attributes, directions)
    for d in range(directions):
        for b in range(batch):
            times = list(range(lengths[b]))
            if direction == "reverse" or d == 1:
                times.reverse()
            h, c = Y_h[d, b], Y_c[d, b]
            for t in times:
                h, c = step(op_type, attributes, fs[d], X[t, b], h, c, W[d], R[d], B[d], P[d])
                Y[t, d, b] = h
            Y_h[d, b], Y_c[d, b] = h, c
    if layout:
        Y, Y_h, Y_c = Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return (Y, Y_h, Y_c) if op_type == "LSTM" else (Y, Y_h)
