"""The weights of linen modules, in and out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import in_filter

from recurrax.cells import (
    ConvLSTMParams,
    DenseParams,
    ElmanParams,
    GRUParams,
    LSTMParams,
    MGUParams,
    UGRNNParams,
    conv_lstm,
    dense,
    elman,
    gru,
    lstm,
    mgu,
    ugrnn,
)
from recurrax.core import Cell, PyTree
from recurrax.interop import networks
from recurrax.interop.layout import Layout
from recurrax.interop.networks import Network, check_attributes, check_class, of_cell, of_rnn

_ZEROS = (jax.nn.initializers.zeros,)
_LSTM = {
    "w_x": tuple(f"i{gate}/kernel" for gate in "ifgo"),
    "w_h": tuple(f"h{gate}/kernel" for gate in "ifgo"),
    "b": tuple(f"h{gate}/bias" for gate in "ifgo"),
}


def from_params(
    module: nn.Module, params: Any, *, shape: tuple[int, ...] | None = None
) -> tuple[Any, PyTree]:
    """The network of a linen module, and its weights; differentiable in `params`.

    Of nn.SimpleCell (`rx.elman`), LSTMCell and OptimizedLSTMCell (`rx.lstm`), GRUCell (`rx.gru`),
    MGUCell (`rx.mgu`, and `rx.ugrnn` without its reset gate), ConvLSTMCell (`rx.conv_lstm`), nn.RNN
    of these, nn.Bidirectional of such RNNs, and nn.Sequential of all that and nn.Dense. How a
    call lays out its arrays and what it returns (`time_major`, `return_carry`, `unroll`) is not
    part of a model: here it is one example, time first, and `(state, ys)`.

    Args:
      module: the linen module; for the weights of a part of a model, that part.
      params: its variables' collection "params".
      shape: of the grid that an nn.ConvLSTMCell runs over.

    Returns:
      `(model, params)`: a `Cell`, or for what needs one a `SequenceModel`, and its params.

    Raises:
      TypeError: a module of another kind. ValueError: an attribute without counterpart, such as
        `gate_fn`, `carry_init` or a `dtype` that is not that of the params; params of another
        module.
    """
    network = _network(module, shape)
    return network.model, network.read(params)


def to_params(
    module: nn.Module, params: PyTree, *, shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """The inverse of `from_params`: our params as the collection "params" of a linen module.

    Raises:
      TypeError: a module of another kind, or params of another cell. ValueError: as for
        `from_params`, and a bias that is not zero where the module has none.
    """
    return _network(module, shape).write(params)


def _network(module: Any, shape: tuple[int, ...] | None) -> Network:
    check_class(module, "flax")
    match module:
        case nn.RNN():
            _check_scan(module)
            return of_rnn(module, _network(module.cell, shape), module.reverse)
        case nn.Bidirectional(forward_rnn=nn.RNN() as forward, backward_rnn=nn.RNN() as backward):
            _check_scan(forward)
            _check_scan(backward)
            return networks.of_bidirectional(
                module,
                nn.Bidirectional.merge_fn,
                of_rnn(forward, _network(forward.cell, shape), reverse=False),
                of_rnn(backward, _network(backward.cell, shape), reverse=False),
            )
        case nn.Sequential():
            layers = list(module.layers)
            keys = [f"layers_{n}" for n in range(len(layers))]
            return networks.of_sequential([_network(layer, shape) for layer in layers], keys)
        case nn.Dense():
            blocks = {"w": ("kernel",)} | ({"b": ("bias",)} if module.use_bias else {})
            return _of(module, dense(module.features), DenseParams, blocks)
    if isinstance(module, nn.RNNCellBase):
        check_attributes(module, carry_init=_ZEROS)
    if hasattr(module, "gate_fn"):
        check_attributes(module, gate_fn=(nn.sigmoid,), activation_fn=(nn.tanh,))
    match module:
        case nn.SimpleCell():
            cell = elman(module.features, activation=module.activation_fn)
            blocks = {"w_x": ("i/kernel",), "w_h": ("h/kernel",), "b": ("i/bias",)}
            shift = {"w_h": jnp.eye(module.features)} if module.residual else {}
            return _of(module, cell, ElmanParams, blocks, shift=shift)
        case nn.LSTMCell() | nn.OptimizedLSTMCell():
            return _of(module, lstm(module.features), LSTMParams, _LSTM)
        case nn.GRUCell():
            blocks = {**_gates("rzn"), "b_hn": ("hn/bias",)}
            return _of(module, gru(module.features), GRUParams, blocks)
        case nn.MGUCell(reset_gate=True):
            blocks = {**_gates("fn"), "b_hn": ("hn/bias",)}
            return _of(module, mgu(module.features), MGUParams, blocks)
        case nn.MGUCell():
            return _of(module, ugrnn(module.features), UGRNNParams, _gates("fn"))
        case nn.ConvLSTMCell():
            return _conv_lstm(module, shape)
    raise TypeError(
        f"flax_linen: module must be a recurrent cell of flax, or nn.RNN, nn.Bidirectional or "
        f"nn.Sequential of these, got {type(module).__name__}. from_cell takes any cell"
    )


def _conv_lstm(module: nn.ConvLSTMCell, shape: tuple[int, ...] | None) -> Network:
    """The cell has two biases, the gate order i, g, f, o, and adds 1 to the forget gate's."""
    ones = (1,) * len(module.kernel_size)
    check_attributes(module, padding=("SAME",))
    if tuple(module.strides or ones) != ones:
        raise ValueError(f"ConvLSTMCell: strides={module.strides!r}; only strides of 1 keep a grid")
    if shape is None:
        raise ValueError("ConvLSTMCell: shape, that of the grid, must be given")
    bias = {"b": ("ih/bias",)} if module.use_bias else {}
    return _of(
        module,
        conv_lstm(module.features, shape, tuple(module.kernel_size), peepholes=()),
        ConvLSTMParams,
        {"w_x": ("ih/kernel",), "w_h": ("hh/kernel",), **bias},
        gates=("igfo", "ifgo"),
        shift={"b": jnp.repeat(jnp.array([0, 1, 0, 0]), module.features)},
        second_bias="hh/bias" if module.use_bias else "",
        input_shape=lambda w_x: (*shape, w_x.shape[-2]),
    )


def _gates(gates: str) -> dict[str, tuple[str, ...]]:
    return {
        "w_x": tuple(f"i{gate}/kernel" for gate in gates),
        "w_h": tuple(f"h{gate}/kernel" for gate in gates),
        "b": tuple(f"i{gate}/bias" for gate in gates),
    }


def _of(module: Any, cell: Cell, record: type, blocks: Any, **more: Any) -> Network:
    spec = Layout(type(module).__name__, cell, record, blocks, **more)
    return of_cell(spec, module.dtype)


def _check_scan(rnn: nn.RNN) -> None:
    """Raises where the weights are not the same at every step."""
    if rnn.variable_axes or not in_filter(rnn.variable_broadcast, "params"):
        raise ValueError(
            f"RNN: the params must be the same at every step, got "
            f"variable_axes={dict(rnn.variable_axes)}, variable_broadcast={rnn.variable_broadcast}"
        )
