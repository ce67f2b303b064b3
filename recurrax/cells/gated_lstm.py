"""What the LSTMs share that differ in which gates there are, and in what these see.

The members of the family that have names are in `lstm_variants.py`, the ablations of Greff et al.
in `greff_lstm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells.lstm import LSTMState
from recurrax.core import (
    Cell,
    check_features,
    check_function,
    check_input,
    check_params,
    check_state,
    input_struct,
    split_key,
)
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    per_gate,
)


class GatedLSTMParams(NamedTuple):
    """`w_x` [D, N H], `w_h` [H, N H], `b` [N H]: N blocks, those that the cell has of i, f, g, o,
    in this order. `p_i`, `p_f`, `p_o` [H], the peepholes that it has, or None. `w_g` [M H, M H],
    from the M gates of the step before to those of this one, or None.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array | None = None
    p_f: jax.Array | None = None
    p_o: jax.Array | None = None
    w_g: jax.Array | None = None


class FullGateState(NamedTuple):
    """`c` [H] the cell state, `h` [H] the output, `gates` [M H] what the gates were."""

    c: jax.Array
    h: jax.Array
    gates: jax.Array


def check_optional(name: str, params: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises where a peephole or W_g is there that the cell has not, or the other way round."""
    for field in params._fields:
        if field not in ("p_i", "p_f", "p_o", "w_g"):
            continue
        if (getattr(params, field) is None) != (field not in shapes):
            raise ValueError(
                f"{name}: params.{field} must be {shapes.get(field)}, got "
                f"{jax.tree.map(jnp.shape, getattr(params, field))}; were the params made for "
                f"another variant of the LSTM?"
            )


def gated_lstm(
    name: str,
    features: int,
    *,
    gates: str = "ifo",
    peepholes: str = "",
    coupled: bool = False,
    full_gate_recurrence: bool = False,
    input_activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    output_activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer,
    w_h_init: Initializer,
) -> Cell:
    """The equations of `greff_lstm`, for any two activations, any gates and any of their peepholes.

        i, f = sigmoid(pre_i + p_i * c_{t-1}), sigmoid(pre_f + p_f * c_{t-1})
        c_t = f * c_{t-1} + i * input_activation(pre_g)
        h_t = sigmoid(pre_o + p_o * c_t) * output_activation(c_t)

    Args:
      name: of the cell, for its repr and its errors.
      gates: the gates with weights of their own, of "ifo". Another is 1, or 1 - i if `coupled`.
      peepholes: which of these gates see the cell state.
    """
    check_features(name, features)
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    blocks = [k for k in "ifgo" if k == "g" or k in gates]
    width, gates_width = len(blocks) * features, len(gates) * features
    shapes: dict[str, tuple[int, ...]] = {f"p_{k}": (features,) for k in peepholes}
    if full_gate_recurrence:
        shapes["w_g"] = (gates_width, gates_width)

    def init(key: jax.Array, x) -> GatedLSTMParams:
        x = input_struct(name, x)
        key_x, key_h, key_b, key_g = split_key(name, key, 4)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        zeros = jnp.zeros_like(b_f)
        b = {"i": -b_f if coupled else b_i, "f": b_f, "g": zeros, "o": zeros}
        params = GatedLSTMParams(
            w_x=per_gate(w_x_init, len(blocks))(key_x, (x.shape[0], width), x.dtype),
            w_h=per_gate(w_h_init, len(blocks))(key_h, (features, width), x.dtype),
            b=jnp.concatenate([b[k] for k in blocks]),
            **{f"p_{k}": zeros for k in peepholes},
        )
        if full_gate_recurrence:
            draw = per_gate(w_h_init, len(gates))
            params = params._replace(w_g=draw(key_g, shapes["w_g"], x.dtype))
        return params

    def initial_state(params: GatedLSTMParams) -> LSTMState | FullGateState:
        check_params(name, params, GatedLSTMParams, b=(width,))
        check_optional(name, params, shapes)
        check_params(name, params, GatedLSTMParams, **shapes)
        zeros = jnp.zeros(features, params.b.dtype)
        if full_gate_recurrence:
            return FullGateState(zeros, zeros.copy(), jnp.zeros(gates_width, params.b.dtype))
        return LSTMState(zeros, zeros.copy())

    def step(params: GatedLSTMParams, state: Any, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        pre = x @ params.w_x + state.h @ params.w_h + params.b
        pre = dict(zip(blocks, jnp.split(pre, len(blocks)), strict=True))
        if params.w_g is not None:
            fed_back = jnp.split(state.gates @ params.w_g, len(gates))
            pre |= {k: pre[k] + part for k, part in zip(gates, fed_back, strict=True)}

        def gate(k: str, c: jax.Array) -> jax.Array | float:
            if k not in gates:
                return 1.0
            seen = getattr(params, f"p_{k}") * c if k in peepholes else 0.0
            return jax.nn.sigmoid(pre[k] + seen)

        i = gate("i", state.c)
        f = 1 - i if coupled else gate("f", state.c)
        c = f * state.c + i * input_activation(pre["g"])
        o = gate("o", c)
        h = o * output_activation(c)
        if params.w_g is None:
            return LSTMState(c, h), h
        value = {"i": i, "f": f, "o": o}
        return FullGateState(c, h, jnp.concatenate([value[k] for k in gates])), h

    return Cell(init, initial_state, step, name)
