"""Normalisation of the features of one step, as cells without a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_number
from recurrax.core import Cell, check_input, check_params, check_state, input_struct


class LayerNormParams(NamedTuple):
    """`scale` [D], `bias` [D]."""

    scale: jax.Array
    bias: jax.Array


class RMSNormParams(NamedTuple):
    """`scale` [D]."""

    scale: jax.Array


def layer_norm(*, epsilon: float = 1e-6) -> Cell:
    """Layer normalisation between layers (Ba et al., 2016).

        y_t = scale * (x_t - mean(x_t)) / sqrt(var(x_t) + epsilon) + bias

    Mean and variance are over the features of one step, in float32 at least. The state is empty: in
    `serial` it runs over all time steps at once. D is that of the input.

    Args:
      epsilon: keeps the root away from zero; at least 0.

    Raises:
      TypeError, ValueError: `epsilon` is no number, or negative; params of another cell; x is not a
        floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.serial(rx.lstm(8), rx.layer_norm(), rx.lstm(8))
    >>> params = model.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> params[1].scale.shape
    (8,)
    """

    def draw(ones: jax.Array) -> LayerNormParams:
        return LayerNormParams(scale=ones, bias=jnp.zeros_like(ones))

    def normalise(params: LayerNormParams, x: jax.Array) -> jax.Array:
        x = x - x.mean()
        return params.scale * x * jax.lax.rsqrt(jnp.square(x).mean() + epsilon) + params.bias

    return _norm("layer_norm", epsilon, LayerNormParams, draw, normalise)


def rms_norm(*, epsilon: float = 1e-6) -> Cell:
    """Root mean square normalisation between layers (Zhang and Sennrich, 2019).

        y_t = scale * x_t / sqrt(mean(x_t^2) + epsilon)

    Layer normalisation without the mean and the bias; all else as in `layer_norm`.

    Args:
      epsilon: keeps the root away from zero; at least 0.

    Raises:
      TypeError, ValueError: as `layer_norm`.
    """

    def normalise(params: RMSNormParams, x: jax.Array) -> jax.Array:
        return params.scale * x * jax.lax.rsqrt(jnp.square(x).mean() + epsilon)

    return _norm("rms_norm", epsilon, RMSNormParams, RMSNormParams, normalise)


def _norm(
    kind: str,
    epsilon: float,
    params_type: type,
    draw: Callable[[jax.Array], Any],
    normalise: Callable[[Any, jax.Array], jax.Array],
) -> Cell:
    check_number(kind, "epsilon", epsilon, ">= 0")
    name = f"{kind}()"

    def init(key: jax.Array, x):
        x = input_struct(name, x)
        return draw(jnp.ones(x.shape, x.dtype))

    def initial_state(params) -> tuple[()]:
        check_params(name, params, params_type)
        return ()

    def step(params, state: tuple[()], x: jax.Array, key=None):
        check_state(name, state, initial_state(params))
        check_input(name, x, params.scale.shape[0])
        dtype = jnp.result_type(x, params.scale)
        wide = jnp.promote_types(dtype, jnp.float32)
        return state, normalise(params, x.astype(wide)).astype(dtype)

    return Cell(init, initial_state, step, name)
