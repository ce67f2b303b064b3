"""The dense layer, as a cell without a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import (
    Cell,
    check_features,
    check_function,
    check_input,
    check_params,
    check_state,
    input_struct,
)
from recurrax.initializers import Initializer, lecun_normal, per_gate


class DenseParams(NamedTuple):
    """`w` [D, F], `b` [F]."""

    w: jax.Array
    b: jax.Array


def dense(
    features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = lambda x: x,
    w_init: Initializer = lecun_normal,
) -> Cell:
    """A dense layer at every step: y_t = f(x_t W + b).

    The state is empty, so `rx.scan` takes the whole layer out of the loop: it is one product over
    all time steps.

    Args:
      features: F, the width of the output.
      activation: f, elementwise; the identity by default.
      w_init: draws W [D, F].

    Raises:
      TypeError, ValueError: `features` is no positive int; `activation` no function; params of
        another cell; x is not a floating vector of width D.
    """
    name = f"dense({features})"
    check_features(name, features)
    check_function(name, "activation", activation)
    check_function(name, "w_init", w_init)

    def init(key: jax.Array, x) -> DenseParams:
        x = input_struct(name, x)
        return DenseParams(
            w=per_gate(w_init, 1)(key, (x.shape[0], features), x.dtype),
            b=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: DenseParams) -> tuple[()]:
        check_params(name, params, DenseParams, b=(features,))
        return ()

    def step(params: DenseParams, state: tuple[()], x: jax.Array, key=None):
        check_state(name, state, initial_state(params))
        check_input(name, x, params.w.shape[0])
        return state, activation(x @ params.w + params.b)

    return Cell(init, initial_state, step, name)
