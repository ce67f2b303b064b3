"""The weights of nnx modules, in and out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import recurrent

from recurrax.cells import (
    DenseParams,
    ElmanParams,
    GRUParams,
    LSTMParams,
    dense,
    elman,
    gru,
    lstm,
)
from recurrax.core import Cell, PyTree
from recurrax.interop import networks
from recurrax.interop.layout import Layout
from recurrax.interop.networks import Network, check_attributes, check_class, of_cell, of_rnn

_ZEROS = (None, jax.nn.initializers.zeros)
_LSTM = {
    "w_x": tuple(f"{gate}/kernel" for gate in ("ii", "if_", "ig", "io")),
    "w_h": tuple(f"h{gate}/kernel" for gate in "ifgo"),
    "b": tuple(f"h{gate}/bias" for gate in "ifgo"),
}


def from_params(module: nnx.Module) -> tuple[Any, PyTree]:
    """The network of an nnx module, and its weights; differentiable in these.

    Of nnx.SimpleCell (`rx.elman`), LSTMCell and OptimizedLSTMCell (`rx.lstm`), GRUCell (`rx.gru`,
    whose `b_hn` it lacks: zeros), nnx.RNN of these, nnx.Bidirectional of such RNNs, and
    nnx.Sequential of all that and nnx.Linear. How a call lays out its arrays and what it returns
    (`time_major`, `return_carry`, `unroll`) is not part of a model: here it is one example, time
    first, and `(state, ys)`.

    Returns:
      `(model, params)`: a `Cell`, or for what needs one a `SequenceModel`, and its params.

    Raises:
      TypeError: a module of another kind. ValueError: an attribute without counterpart, such as
        `gate_fn`, `carry_init` or a `dtype` that is not that of the params.
    """
    network = _network(module)
    return network.model, network.read(nnx.to_pure_dict(nnx.state(module, nnx.Param)))


def to_params(module: nnx.Module, params: PyTree) -> dict[Any, Any]:
    """Our params as those of `module`, which itself stays as it is: `nnx.update` writes them.

    Raises:
      TypeError: a module of another kind, or params of another cell. ValueError: as for
        `from_params`; params of another width; a bias that is not zero where the module has none.
    """
    written = _network(module).write(params)
    shapes = jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    got = jax.tree.map(jnp.shape, written)
    if got != shapes:
        raise ValueError(f"{type(module).__name__}: its params have shapes {shapes}, got {got}")
    return written


def _network(module: Any) -> Network:
    check_class(module, "flax")
    match module:
        case nnx.RNN():
            return of_rnn(module, _network(module.cell), module.reverse)
        case nnx.Bidirectional(
            forward_rnn=nnx.RNN() as forward, backward_rnn=nnx.RNN() as backward
        ):
            return networks.of_bidirectional(
                module,
                recurrent.Bidirectional.merge_fn,
                of_rnn(forward, _network(forward.cell), reverse=False),
                of_rnn(backward, _network(backward.cell), reverse=False),
            )
        case nnx.Sequential():
            layers = [_network(layer) for layer in module.layers]
            network = networks.of_sequential(layers, list(range(len(layers))))
            return networks.under("layers", network)
        case nnx.Linear():
            blocks = {"w": ("kernel",)} | ({"b": ("bias",)} if module.use_bias else {})
            return _of(module, dense(module.out_features), DenseParams, blocks)
    if hasattr(module, "carry_init"):
        check_attributes(module, carry_init=_ZEROS)
    if hasattr(module, "gate_fn"):
        check_attributes(module, gate_fn=(nnx.sigmoid,), activation_fn=(nnx.tanh,))
    merged = {"w_x": ("dense_i/kernel",), "w_h": ("dense_h/kernel",)}
    match module:
        case nnx.SimpleCell():
            cell = elman(module.hidden_features, activation=module.activation_fn)
            shift = {"w_h": jnp.eye(module.hidden_features)} if module.residual else {}
            return _of(module, cell, ElmanParams, {**merged, "b": ("dense_i/bias",)}, shift=shift)
        case nnx.LSTMCell():
            return _of(module, lstm(module.hidden_features), LSTMParams, _LSTM)
        case nnx.OptimizedLSTMCell():
            blocks = {**merged, "b": ("dense_h/bias",)}
            return _of(module, lstm(module.hidden_features), LSTMParams, blocks)
        case nnx.GRUCell():
            blocks = {**merged, "b": ("dense_i/bias",)}
            return _of(module, gru(module.hidden_features), GRUParams, blocks)
    raise TypeError(
        f"flax_nnx: module must be a recurrent cell of flax, or nnx.RNN, nnx.Bidirectional or "
        f"nnx.Sequential of these, got {type(module).__name__}. from_cell takes any cell"
    )


def _of(module: Any, cell: Cell, record: type, blocks: Any, **more: Any) -> Network:
    spec = Layout(type(module).__name__, cell, record, blocks, **more)
    return of_cell(spec, module.dtype)
