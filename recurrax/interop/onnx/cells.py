"""ONNX's activations, and its GRU and LSTM where they are none of this library's cells."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells import LSTMState
from recurrax.core import Cell, check_input, check_params, check_state, input_struct, split_key
from recurrax.initializers import glorot_uniform, orthogonal, per_gate

Activation = Callable[[jax.Array], jax.Array]

_ACTIVATIONS: dict[str, tuple[Callable[..., jax.Array], dict[str, float | None]]] = {
    "Relu": (jax.nn.relu, {}),
    "Tanh": (jnp.tanh, {}),
    "Sigmoid": (jax.nn.sigmoid, {}),
    "Softsign": (jax.nn.soft_sign, {}),
    "Softplus": (jax.nn.softplus, {}),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, {"alpha": None, "beta": None}),
    "ScaledTanh": (
        lambda x, alpha, beta: alpha * jnp.tanh(beta * x),
        {"alpha": None, "beta": None},
    ),
    "LeakyRelu": (lambda x, alpha: jnp.where(x >= 0, x, alpha * x), {"alpha": 0.01}),
    "ThresholdedRelu": (lambda x, alpha: jnp.where(x >= alpha, x, 0 * x), {"alpha": 1.0}),
    "HardSigmoid": (
        lambda x, alpha, beta: jnp.clip(alpha * x + beta, 0, 1),
        {"alpha": 0.2, "beta": 0.5},
    ),
    "Elu": (lambda x, alpha: jax.nn.elu(x, alpha), {"alpha": 1.0}),
}
"""The function, and the defaults of what it is scaled by: None where the standard has none."""


def activation_functions(
    names: Sequence[str], alphas: Sequence[float] | None, betas: Sequence[float] | None
) -> list[Activation]:
    """The functions of these names; each that has an alpha or a beta takes the next of its list.

    Raises:
      ValueError: an unknown name; a list that is longer or shorter than there are takers, or is
        missing where the standard has no default.
    """
    known = {name.lower(): name for name in _ACTIVATIONS}
    unknown = [name for name in names if str(name).lower() not in known]
    if unknown:
        raise ValueError(f"activations: expected of {list(_ACTIVATIONS)}, got {unknown}")
    names = [known[str(name).lower()] for name in names]
    given: dict[str, list[float]] = {"alpha": list(alphas or ()), "beta": list(betas or ())}
    for scale, values in given.items():
        takers = [name for name in names if scale in _ACTIVATIONS[name][1]]
        if values and len(values) != len(takers):
            raise ValueError(
                f"activation_{scale}: expected one value for each activation that has one, in "
                f"their order, {takers}, got {values}"
            )
        required = [name for name in takers if _ACTIVATIONS[name][1][scale] is None]
        if required and not values:
            raise ValueError(f"activation_{scale}: {required} have no default, got none")
    functions = []
    for name in names:
        function, defaults = _ACTIVATIONS[name]
        scales = {s: given[s].pop(0) if given[s] else default for s, default in defaults.items()}
        functions.append(functools.partial(function, **scales) if scales else function)
    return functions


def clipped(function: Activation, clip: float | None) -> Activation:
    """The activation of what is first bounded to [-clip, clip]."""
    if clip is None:
        return function
    return lambda x: function(jnp.clip(x, -clip, clip))


class OperatorParams(NamedTuple):
    """One direction of the operator's own inputs: `W` [G H, D], `R` [G H, H], `B` [2 G H], those of
    W before those of R; `P` [3H], the peepholes, or None. Gate order z, r, h or i, o, f, c.
    """

    W: jax.Array
    R: jax.Array
    B: jax.Array
    P: jax.Array | None = None


def operator_gru(features: int, f: Activation, g: Activation, *, linear_before_reset: bool) -> Cell:
    """ONNX's GRU, any activations, of `OperatorParams`; the state is h [H].

    z = f(W_z x_t + R_z h_{t-1} + b),    r = f(W_r x_t + R_r h_{t-1} + b)
    n = g(W_h x_t + b_Wh + r * (R_h h_{t-1} + b_Rh))    linear_before_reset
    n = g(W_h x_t + b_Wh + R_h (r * h_{t-1}) + b_Rh)    otherwise
    h_t = (1 - z) * n + z * h_{t-1}
    """
    name = f"operator_gru({features})"

    def initial_state(params: OperatorParams) -> jax.Array:
        check_params(name, params, OperatorParams, B=(6 * features,))
        return jnp.zeros(features, params.B.dtype)

    def step(params: OperatorParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        check_input(name, x, params.W.shape[1])
        b_x, b_h = jnp.split(params.B, 2)
        x_z, x_r, x_n = jnp.split(params.W @ x + b_x, 3)
        if linear_before_reset:
            h_z, h_r, h_n = jnp.split(params.R @ h + b_h, 3)
            z, r = f(x_z + h_z), f(x_r + h_r)
            n = g(x_n + r * h_n)
        else:
            r_zr, r_n = jnp.split(params.R, [2 * features])
            b_zr, b_n = jnp.split(b_h, [2 * features])
            h_z, h_r = jnp.split(r_zr @ h + b_zr, 2)
            z, r = f(x_z + h_z), f(x_r + h_r)
            n = g(x_n + r_n @ (r * h) + b_n)
        h = (1 - z) * n + z * h
        return h, h

    return Cell(_init(name, features, 3, None), initial_state, step, name)


def operator_lstm(
    features: int,
    f: Activation,
    g: Activation,
    h: Activation,
    *,
    peepholes: bool,
    input_forget: bool,
) -> Cell:
    """ONNX's LSTM, any activations, of `OperatorParams`; the state is `LSTMState(c, h)`.

    [i, o, f, c] = W x_t + R h_{t-1} + b
    i = f(i + p_i * c_{t-1}),    f = f(f + p_f * c_{t-1}), or 1 - i with input_forget
    c_t = f * c_{t-1} + i * g(c),    o = f(o + p_o * c_t),    h_t = o * h(c_t)
    """
    name = f"operator_lstm({features})"
    extra = {"P": (3 * features,)} if peepholes else {}

    def initial_state(params: OperatorParams) -> LSTMState:
        check_params(name, params, OperatorParams, B=(8 * features,), **extra)
        zeros = jnp.zeros(features, params.B.dtype)
        return LSTMState(zeros, zeros)

    def step(params: OperatorParams, state: LSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.W.shape[1])
        b_x, b_h = jnp.split(params.B, 2)
        a_i, a_o, a_f, a_c = jnp.split(params.W @ x + params.R @ state.h + (b_x + b_h), 4)
        p_i, p_o, p_f = (0.0,) * 3 if params.P is None else jnp.split(params.P, 3)
        i = f(a_i + p_i * state.c)
        forget = 1 - i if input_forget else f(a_f + p_f * state.c)
        c = forget * state.c + i * g(a_c)
        y = f(a_o + p_o * c) * h(c)
        return LSTMState(c, y), y

    init = _init(name, features, 4, 3 * features if peepholes else None)
    return Cell(init, initial_state, step, name)


def _init(name: str, features: int, gates: int, peepholes: int | None) -> Callable[..., Any]:
    """Draws what the other cells of this library draw: glorot, orthogonal, zeros."""

    def init(key: jax.Array, x) -> OperatorParams:
        x = input_struct(name, x)
        key_x, key_h = split_key(name, key)
        width = gates * features
        return OperatorParams(
            W=per_gate(glorot_uniform, gates)(key_x, (x.shape[0], width), x.dtype).T,
            R=per_gate(orthogonal, gates)(key_h, (features, width), x.dtype).T,
            B=jnp.zeros(2 * width, x.dtype),
            P=None if peepholes is None else jnp.zeros(peepholes, x.dtype),
        )

    return init
