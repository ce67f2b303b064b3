"""equinox: the weights of its recurrent cells, in and out.

>>> import equinox as eqx, jax, recurrax as rx
>>> module = eqx.nn.GRUCell(3, 8, key=jax.random.key(0))
>>> cell, params = rx.interop.equinox.from_params(module)
>>> cell, params.w_x.shape
(gru(8), (3, 24))
>>> module = rx.interop.equinox.to_params(module, params)  # and back
"""

from __future__ import annotations

from typing import Any

import equinox as eqx

from recurrax.cells import GRUParams, LSTMParams, gru, lstm
from recurrax.core import Cell, PyTree
from recurrax.interop import layout
from recurrax.interop.layout import Layout
from recurrax.interop.networks import check_class


def from_params(module: eqx.Module) -> tuple[Cell, PyTree]:
    """The cell of an eqx.nn.LSTMCell (`rx.lstm`) or GRUCell (`rx.gru`), and its weights.

    Differentiable in them. Absent biases (`use_bias=False`) become zeros. Equinox's LSTM has the
    state (h, c), ours `LSTMState(c, h)`.

    Raises:
      TypeError: a module of another kind.
    """
    spec = _layout(module)
    leaves = {path: getattr(module, path) for path in _paths(spec)}
    return spec.cell, layout.read(spec, {path: leaf.T for path, leaf in leaves.items()})


def to_params(module: Any, params: PyTree) -> Any:
    """`module` with our params for its own; a new module, as everywhere in equinox.

    Raises:
      TypeError: a module of another kind, or params of another cell. ValueError: params of another
        width; a bias that is not zero where the module has none.
    """
    spec = _layout(module)
    leaves = layout.write(spec, params)
    if params.w_x.shape[0] != module.input_size:
        raise ValueError(
            f"{spec.name}: params.w_x must have {module.input_size} rows, got {params.w_x.shape[0]}"
        )
    paths = _paths(spec)
    new = [leaves[path].T for path in paths]
    return eqx.tree_at(lambda m: [getattr(m, path) for path in paths], module, new)


def _paths(spec: Layout) -> list[str]:
    return [path for paths in spec.blocks.values() for path in paths]


def _layout(module: Any) -> Layout:
    """Matrices are transposed; gate orders are ours."""
    check_class(module, "equinox")
    blocks = {"w_x": ("weight_ih",), "w_h": ("weight_hh",)}
    biases = {"b": ("bias",)} if getattr(module, "use_bias", False) else {}
    match module:
        case eqx.nn.LSTMCell():
            return Layout("LSTMCell", lstm(module.hidden_size), LSTMParams, blocks | biases)
        case eqx.nn.GRUCell():
            biases |= {"b_hn": ("bias_n",)} if module.use_bias else {}
            return Layout("GRUCell", gru(module.hidden_size), GRUParams, blocks | biases)
    raise TypeError(
        f"equinox: module must be an eqx.nn.LSTMCell or GRUCell, got {type(module).__name__}"
    )
