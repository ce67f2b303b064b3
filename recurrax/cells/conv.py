"""Convolutional LSTM and GRU, over grids of one, two or three dimensions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.cells.gated_lstm import check_optional
from recurrax.cells.lstm import LSTMState
from recurrax.checks import check_count
from recurrax.core import (
    Cell,
    check_features,
    check_floating,
    check_function,
    check_params,
    check_state,
    input_struct,
    split_key,
)
from recurrax.initializers import (
    Initializer,
    check_forget_bias,
    gate_biases,
    glorot_uniform,
    orthogonal,
    per_gate,
)


class ConvLSTMParams(NamedTuple):
    """`w_x` [*kernel, D, 4H], `w_h` [*kernel, H, 4H], `b` [4H], gate order i, f, g, o; peepholes
    `p_i`, `p_f`, `p_o` [*shape, H], or None.
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    p_i: jax.Array | None = None
    p_f: jax.Array | None = None
    p_o: jax.Array | None = None


class ConvGRUParams(NamedTuple):
    """`w_x` [*kernel, D, 3H], `w_h` [*kernel, H, 3H], `b` [3H]; gate order r, z, n."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


def conv_lstm(
    features: int,
    shape: tuple[int, ...],
    kernel: int | tuple[int, ...] = 3,
    *,
    peepholes: tuple[str, ...] = ("i", "f", "o"),
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The convolutional LSTM (Shi et al., 2015, arXiv:1506.04214): every product of `peephole_lstm`
    a convolution.

        [i, f, g, o] = x_t (*) W_x + h_{t-1} (*) W_h + b
        c_t = sigmoid(f + p_f * c_{t-1}) * c_{t-1} + sigmoid(i + p_i * c_{t-1}) * tanh(g)
        h_t = sigmoid(o + p_o * c_t) * tanh(c_t),    y_t = h_t

    x is a grid of vectors, [*shape, D], with one, two or three axes in `shape`; the state is
    `LSTMState(c, h)`, [*shape, H] each. Outside the grid is zero, and its shape stays. A peephole
    has a weight for each place, zero at first. One recurrent convolution a step.

    Args:
      features: H, the number of channels of both halves of the state and of the output.
      shape: of the grid.
      kernel: extent of the two filters, one number or one for each axis of the grid.
      peepholes: which gates see the cell state, of "i", "f" and "o"; () for none, as in Keras.
      forget_bias: as in `lstm`.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features`, `shape` or `kernel` is not positive, or is of more than
        three axes; `peepholes` is no tuple of gates; params or state of another cell; x is not
        floating or not [*shape, D].

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.conv_lstm(4, shape=(8, 8))
    >>> params = cell.init(jax.random.key(0), jnp.ones((8, 8, 3)))
    >>> rx.unroll(cell, params, jnp.ones((5, 8, 8, 3)))[1].shape
    (5, 8, 8, 4)
    """
    name, kernel = _grid("conv_lstm", features, shape, kernel)
    if not isinstance(peepholes, tuple):
        raise TypeError(f"{name}: peepholes must be a tuple of gates, got {peepholes!r}")
    if not set(peepholes) <= set("ifo"):
        raise ValueError(f"{name}: peepholes must be of 'i', 'f' and 'o', got {peepholes!r}")
    check_forget_bias(name, forget_bias)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    grid = (*shape, features)
    shapes = {f"p_{k}": grid for k in peepholes}

    def init(key: jax.Array, x) -> ConvLSTMParams:
        x = _grid_struct(name, x, shape)
        key_x, key_h, key_b = split_key(name, key, 3)
        b_i, b_f = gate_biases(forget_bias, key_b, features, x.dtype)
        zeros = jnp.zeros_like(b_i)
        return ConvLSTMParams(
            w_x=per_gate(w_x_init, 4)(key_x, (*kernel, x.shape[-1], 4 * features), x.dtype),
            w_h=per_gate(w_h_init, 4)(key_h, (*kernel, features, 4 * features), x.dtype),
            b=jnp.concatenate([b_i, b_f, zeros, zeros]),
            **{p: jnp.zeros(grid, x.dtype) for p in shapes},
        )

    def initial_state(params: ConvLSTMParams) -> LSTMState:
        check_params(name, params, ConvLSTMParams, b=(4 * features,))
        check_optional(name, params, shapes)
        check_params(name, params, ConvLSTMParams, **shapes)
        zeros = jnp.zeros(grid, params.b.dtype)
        return LSTMState(zeros, zeros.copy())

    def step(params: ConvLSTMParams, state: LSTMState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        _check_grid(name, x, (*shape, params.w_x.shape[-2]))
        pre = _convolve(x, params.w_x) + _convolve(state.h, params.w_h) + params.b
        i, f, g, o = jnp.split(pre, 4, axis=-1)

        def gate(pre: jax.Array, peephole: jax.Array | None, c: jax.Array) -> jax.Array:
            return jax.nn.sigmoid(pre if peephole is None else pre + peephole * c)

        i, f = gate(i, params.p_i, state.c), gate(f, params.p_f, state.c)
        c = f * state.c + i * jnp.tanh(g)
        h = gate(o, params.p_o, c) * jnp.tanh(c)
        return LSTMState(c, h), h

    return Cell(init, initial_state, step, name)


def conv_gru(
    features: int,
    shape: tuple[int, ...],
    kernel: int | tuple[int, ...] = 3,
    *,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The convolutional GRU (Ballas et al., 2016, arXiv:1511.06432): `gru(reset_after=False)` with
    convolutions.

        [r, z] = sigmoid(x_t (*) W_x + h_{t-1} (*) W_h + b)
        n = tanh(x_t (*) W_xn + (r * h_{t-1}) (*) W_hn + b_n)
        h_t = (1 - z) * h_{t-1} + z * n,    y_t = h_t

    x is a grid of vectors, [*shape, D], with one, two or three axes in `shape`; the state is h,
    [*shape, H]. Outside the grid is zero. Two recurrent convolutions a step, one after the other.

    Args:
      features: H, the number of channels of the state and of the output.
      shape: of the grid.
      kernel: extent of the two filters, one number or one for each axis of the grid.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: as `conv_lstm`.
    """
    name, kernel = _grid("conv_gru", features, shape, kernel)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)

    def init(key: jax.Array, x) -> ConvGRUParams:
        x = _grid_struct(name, x, shape)
        key_x, key_h = split_key(name, key)
        return ConvGRUParams(
            w_x=per_gate(w_x_init, 3)(key_x, (*kernel, x.shape[-1], 3 * features), x.dtype),
            w_h=per_gate(w_h_init, 3)(key_h, (*kernel, features, 3 * features), x.dtype),
            b=jnp.zeros(3 * features, x.dtype),
        )

    def initial_state(params: ConvGRUParams) -> jax.Array:
        check_params(name, params, ConvGRUParams, b=(3 * features,))
        return jnp.zeros((*shape, features), params.b.dtype)

    def step(params: ConvGRUParams, h: jax.Array, x: jax.Array, key=None):
        check_state(name, h, jax.eval_shape(initial_state, params))
        _check_grid(name, x, (*shape, params.w_x.shape[-2]))
        x_rz, x_n = jnp.split(_convolve(x, params.w_x) + params.b, [2 * features], axis=-1)
        w_rz, w_n = jnp.split(params.w_h, [2 * features], axis=-1)
        r, z = jnp.split(jax.nn.sigmoid(x_rz + _convolve(h, w_rz)), 2, axis=-1)
        n = jnp.tanh(x_n + _convolve(r * h, w_n))
        h = (1 - z) * h + z * n
        return h, h

    return Cell(init, initial_state, step, name)


def _convolve(x: jax.Array, w: jax.Array) -> jax.Array:
    """x [*shape, I] (*) w [*kernel, I, O] -> [*shape, O], with zeros outside the grid."""
    axes = "XYZ"[: x.ndim - 1]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    ones = (1,) * len(axes)
    dtype = jnp.result_type(x, w)  # as a matrix product does
    x, w = x.astype(dtype), w.astype(dtype)
    return lax.conv_general_dilated(x[None], w, ones, "SAME", dimension_numbers=numbers)[0]


def _grid(factory: str, features: int, shape: Any, kernel: Any) -> tuple[str, tuple[int, ...]]:
    """The cell's name, and its kernel with one entry for each axis; checks all three arguments."""
    name = f"{factory}({features}, {shape!r}, {kernel!r})"
    check_features(name, features)
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3:
        raise TypeError(f"{name}: shape must be a tuple of 1, 2 or 3 extents, got {shape!r}")
    kernel = kernel if isinstance(kernel, tuple) else (kernel,) * len(shape)
    if len(kernel) != len(shape):
        raise ValueError(f"{name}: kernel must have {len(shape)} extents, as shape, got {kernel}")
    for extent in shape:
        check_count(name, "each extent of shape", extent)
    for extent in kernel:
        check_count(name, "each extent of kernel", extent)
    return name, kernel


def _grid_struct(name: str, x: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    x = input_struct(name, x, axes=(*map(str, shape), "D"))
    _check_grid(f"{name}.init", x, (*shape, x.shape[-1]))
    return x


def _check_grid(name: str, x: Any, expected: tuple[int, ...]) -> None:
    check_floating(name, x)
    if x.shape != expected:
        raise ValueError(
            f"{name}: x must be one step of one example, of shape {expected}, got shape {x.shape}. "
            f"Cells have no batch axis: use jax.vmap for the batch and rx.unroll for time"
        )
