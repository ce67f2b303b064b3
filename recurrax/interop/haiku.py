"""dm-haiku: the weights of its recurrent cores, in and out. Haiku itself is not needed.

A core is known by its class's name, and its weights lie in haiku's flat dict of modules under the
name that the core has there.

>>> import numpy as np, recurrax as rx
>>> params = {"my_model/lstm/linear": {"w": np.ones((3 + 2, 8)), "b": np.zeros(8)}}
>>> cell, ours = rx.interop.haiku.from_params("LSTM", params, "my_model/lstm")
>>> cell, ours.w_x.shape
(lstm(2), (3, 8))
>>> print(ours.b)  # its step adds 1 to the forget gate
[0. 0. 1. 1. 0. 0. 0. 0.]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.cells import (
    ConvLSTMParams,
    ElmanParams,
    GRUParams,
    LSTMParams,
    conv_lstm,
    elman,
    gru,
    lstm,
)
from recurrax.core import Cell, PyTree
from recurrax.interop import layout
from recurrax.interop.layout import Layout


class _Core(NamedTuple):
    name: str
    """What haiku calls the first one that it meets."""
    w_x: str
    """Where the input's weights lie."""
    gates: int


_CORES = {
    "VanillaRNN": _Core("vanilla_rnn", "linear/w", 1),
    "LSTM": _Core("lstm", "linear/w", 4),
    "GRU": _Core("gru", "w_i", 3),
    "Conv1DLSTM": _Core("conv1_dlstm", "input_to_hidden/w", 4),
    "Conv2DLSTM": _Core("conv2_dlstm", "input_to_hidden/w", 4),
    "Conv3DLSTM": _Core("conv3_dlstm", "input_to_hidden/w", 4),
}


def from_params(
    core: str, params: Mapping[str, Any], name: str = "", *, shape: tuple[int, ...] | None = None
) -> tuple[Cell, PyTree]:
    """The cell of a haiku core, and its weights; differentiable in `params`.

    VanillaRNN is `rx.elman` with ReLU (its two biases are added); LSTM is `rx.lstm`, with the 1
    that haiku's step adds to the forget gate in the bias, and another gate order; GRU is
    `rx.gru(reset_after=False)`; Conv1DLSTM, Conv2DLSTM and Conv3DLSTM are `rx.conv_lstm` without
    peepholes. Haiku's state is `LSTMState(hidden, cell)`, ours `LSTMState(c, h)`.

    Args:
      core: the name of the core's class.
      params: haiku's params; modules other than the core's are left alone.
      name: the core's name there, with its parents'; by default haiku's own, such as "lstm".
      shape: of the grid that a convolutional core runs over, haiku's `input_shape`.

    Raises:
      ValueError: an unknown core; its arrays are not in `params` or of other shapes.
    """
    path = name or _core(core).name
    leaves = {
        key.removeprefix(f"{path}/"): leaf
        for key, leaf in layout.flatten(params).items()
        if key.startswith(f"{path}/")
    }
    if _core(core).w_x not in leaves:
        raise ValueError(f"{core}: params must hold {path}/{_core(core).w_x}, got {list(params)}")
    w_x = leaves[_core(core).w_x]
    features = w_x.shape[-1] // _core(core).gates
    if core == "LSTM":  # one matrix for [x, h]
        w = leaves.pop("linear/w")
        leaves |= {"linear/w_x": w[:-features], "linear/w_h": w[-features:]}
    spec = _layout(core, features, shape, w_x.shape[:-2])
    return spec.cell, layout.read(spec, leaves)


def to_params(core: str, params: PyTree, name: str = "") -> dict[str, dict[str, jax.Array]]:
    """The inverse of `from_params`: our params as haiku's, for the core called `name`.

    Of the two biases of VanillaRNN and of the convolutional cores the second is zero; haiku's
    VanillaRNN with `double_bias=False` does not read it.

    Raises:
      TypeError: params of another cell. ValueError: an unknown core; params of another width.
    """
    path = name or _core(core).name
    if not hasattr(params, "b"):
        raise TypeError(f"{core}: params must be those of a cell, got {type(params).__name__}")
    features = jnp.shape(params.b)[-1] // _core(core).gates
    kernel = jnp.shape(params.w_x)[:-2]
    spec = _layout(core, features, (1,) * len(kernel), kernel)  # any grid will do
    leaves = layout.write(spec, params)
    if core == "LSTM":
        leaves["linear/w"] = jnp.concatenate([leaves.pop("linear/w_x"), leaves.pop("linear/w_h")])
    modules: dict[str, dict[str, jax.Array]] = {}
    for key, leaf in leaves.items():
        module, _, array = f"{path}/{key}".rpartition("/")
        modules.setdefault(module, {})[array] = leaf
    return modules


def _core(core: str) -> _Core:
    if core not in _CORES:
        raise ValueError(f"haiku: core must be one of {list(_CORES)}, got {core!r}")
    return _CORES[core]


def _layout(
    core: str, features: int, shape: tuple[int, ...] | None, kernel: tuple[int, ...]
) -> Layout:
    plus_one = {"b": jnp.repeat(jnp.array([0, 1, 0, 0]), features)}  # our order: i, f, g, o
    if core == "VanillaRNN":
        cell = elman(features, activation=jax.nn.relu)
        blocks = {"w_x": ("linear/w",), "w_h": ("linear_1/w",), "b": ("linear/b",)}
        return Layout(core, cell, ElmanParams, blocks, second_bias="linear_1/b")
    if core == "LSTM":
        blocks = {"w_x": ("linear/w_x",), "w_h": ("linear/w_h",), "b": ("linear/b",)}
        gates = ("igfo", "ifgo")
        return Layout(core, lstm(features), LSTMParams, blocks, gates=gates, shift=plus_one)
    if core == "GRU":
        cell = gru(features, reset_after=False)
        blocks = {"w_x": ("w_i",), "w_h": ("w_h",), "b": ("b",)}
        return Layout(core, cell, GRUParams, blocks, gates=("zrn", "rzn"))
    if shape is None:
        raise ValueError(f"{core}: shape, that of the grid, must be given")
    return Layout(
        core,
        conv_lstm(features, shape, kernel, peepholes=()),
        ConvLSTMParams,
        {
            "w_x": ("input_to_hidden/w",),
            "w_h": ("hidden_to_hidden/w",),
            "b": ("input_to_hidden/b",),
        },
        gates=("igfo", "ifgo"),
        shift=plus_one,
        second_bias="hidden_to_hidden/b",
        input_shape=lambda w_x: (*shape, w_x.shape[-2]),
    )
