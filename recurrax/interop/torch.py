"""PyTorch: the state_dict of `nn.RNN`, `nn.LSTM` and `nn.GRU`, in and out, without torch.

A state_dict is a mapping from names to arrays, `weight_ih_l0`, `bias_hh_l1_reverse` and so on.
Torch stores matrices transposed and keeps two biases a gate. Where both are only ever added, our
one bias is their sum; the GRU's `b_hn`, which the reset gate multiplies, is a bias of its own here
too. Gate orders are the same.

Torch's `batch_first` has no counterpart (the batch is `jax.vmap`), nor have packed sequences
(`length` does that). Of `h_n` [layers * directions, B, H], layer l's two directions are entries
2 l and 2 l + 1; here the state is a tree like the params.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.cells import (
    ElmanParams,
    GRUParams,
    LSTMParams,
    ProjectedLSTMParams,
    elman,
    gru,
    lstm,
    projected_lstm,
)
from recurrax.compose import Bidirectional, bidirectional, dropout, serial
from recurrax.core import Cell, PyTree, SequenceModel
from recurrax.interop.arrays import floats, layers_of
from recurrax.interop.networks import check_class

_NONLINEARITIES = {"tanh": jnp.tanh, "relu": jax.nn.relu}
_MODES = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": None, "GRU": None}


def from_state_dict(
    state_dict: Mapping[str, Any],
    *,
    prefix: str = "",
    nonlinearity: str | None = None,
    dropout_rate: float = 0.0,
) -> tuple[SequenceModel, PyTree]:
    """The network that a state_dict belongs to, and its params.

    Which layer it is, its widths, layers, directions and projection are read off the shapes.
    Absent biases (`bias=False`) become zeros. Differentiable in the arrays.

    Args:
      state_dict: arrays or tensors by name.
      prefix: reads only the names that begin so, such as "encoder.rnn."; there, every name.
      nonlinearity: "tanh" or "relu", of an nn.RNN only: its state_dict does not say which.
      dropout_rate: torch's `dropout`, between layers; also not in the state_dict. It acts where
        `apply` is given a key.

    Returns:
      `(model, params)`: `rx.serial` of one cell, or `rx.bidirectional` pair, a layer.

    Raises:
      ValueError: a name that is missing or that no such layer has; shapes that do not fit; an
        nn.RNN without its nonlinearity, or another layer with one. TypeError: no array of floats.

    >>> import numpy as np, recurrax as rx
    >>> shapes = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": 8, "bias_hh_l0": 8}
    >>> state_dict = {name: np.ones(shape, "float32") for name, shape in shapes.items()}
    >>> model, params = rx.interop.torch.from_state_dict(state_dict)
    >>> model
    serial(lstm(2))
    >>> print(params[0].b)
    [2. 2. 2. 2. 2. 2. 2. 2.]
    """
    tensors = {
        name.removeprefix(prefix): value
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in tensors else ("",)
    models, params, width = [], [], None
    layer = 0
    while layer == 0 or f"weight_ih_l{layer}" in tensors:
        cells = []
        for suffix in suffixes:
            cells.append(_read(tensors, f"_l{layer}{suffix}", width, nonlinearity))
        if layer and dropout_rate:
            models.append(dropout(dropout_rate))
            params.append(())
        models.append(cells[0][0] if len(cells) == 1 else bidirectional(*(c for c, _ in cells)))
        params.append(cells[0][1] if len(cells) == 1 else Bidirectional(*(p for _, p in cells)))
        width = sum(_output_width(p) for _, p in cells)
        layer += 1
    if tensors:
        raise ValueError(
            f"state_dict: {sorted(tensors)} belong to no layer of an nn.RNN, nn.LSTM or nn.GRU "
            f"with {layer} layers in {len(suffixes)} direction(s). Choose by prefix what to read"
        )
    return serial(*models), tuple(params)


def _read(
    tensors: dict[str, Any], suffix: str, width: int | None, nonlinearity: str | None
) -> tuple[Cell, PyTree]:
    """The cell of one layer and direction, with its params, taken out of `tensors`."""

    def take(name: str, *shape: int | None) -> jax.Array:
        if name + suffix not in tensors:
            raise ValueError(f"state_dict: {name + suffix} is missing; has it another prefix?")
        leaf = floats(name + suffix, tensors.pop(name + suffix))
        if leaf.ndim != len(shape) or any(
            n not in (None, m) for n, m in zip(shape, leaf.shape, strict=True)
        ):
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{name + suffix}: expected shape [{expected}], got {leaf.shape}")
        return leaf.T

    projects, biased = f"weight_hr{suffix}" in tensors, f"bias_ih{suffix}" in tensors
    w_x = take("weight_ih", None, width)
    columns = w_x.shape[1]
    w_h = take("weight_hh", columns, None)
    w_p = take("weight_hr", w_h.shape[0], None) if projects else None
    features = w_h.shape[0] if w_p is None else w_p.shape[0]
    gates = columns / features
    if gates not in ((4,) if projects else (1, 3, 4)):
        raise ValueError(
            f"weight_hh{suffix}: {columns} rows for H={features} are those of no nn.RNN (H), "
            f"nn.GRU (3 H) or nn.LSTM (4 H; alone with a projection)"
        )
    if nonlinearity not in (_NONLINEARITIES if gates == 1 else (None,)):
        raise ValueError(
            f"nonlinearity: expected {list(_NONLINEARITIES)} for an nn.RNN and None for others, "
            f"got {nonlinearity!r} with {int(gates)} gate(s); a state_dict does not hold it"
        )
    zeros = jnp.zeros(columns, w_x.dtype)
    b_x = take("bias_ih", columns) if biased else zeros
    b_h = take("bias_hh", columns) if biased else zeros
    if gates == 1:
        f = _NONLINEARITIES[str(nonlinearity)]
        return elman(features, activation=f), ElmanParams(w_x, w_h, b_x + b_h)
    if gates == 3:
        b_rz, b_hn = jnp.split(b_h, [2 * features])
        return gru(features), GRUParams(w_x, w_h, b_x.at[: 2 * features].add(b_rz), b_hn)
    if w_p is None:
        return lstm(features), LSTMParams(w_x, w_h, b_x + b_h)
    params = ProjectedLSTMParams(w_x=w_x, w_h=w_h, b=b_x + b_h, w_p=w_p)
    return projected_lstm(features, w_p.shape[1]), params


def _output_width(params: Any) -> int:
    return params.w_h.shape[0]


def from_module(module: Any) -> tuple[SequenceModel, PyTree]:
    """The network that an `nn.RNN`, `nn.LSTM` or `nn.GRU` is, and its params.

    As `from_state_dict`, which says the rest; nonlinearity and dropout are read off the module.

    Raises:
      TypeError: another module, or one of a class of one's own, which may compute anything.
    """
    mode = getattr(module, "mode", None)
    if mode not in _MODES or not callable(getattr(module, "state_dict", None)):
        raise TypeError(f"module: expected an nn.RNN, nn.LSTM or nn.GRU, got {module!r}")
    check_class(module, "torch")
    return from_state_dict(
        module.state_dict(), nonlinearity=_MODES[mode], dropout_rate=module.dropout
    )


def to_state_dict(params: PyTree, *, prefix: str = "", bias: bool = True) -> dict[str, np.ndarray]:
    """The state_dict, of NumPy arrays, of the torch layer that computes what these params do.

    Our one bias becomes `bias_ih`, and `bias_hh` zero but for the GRU's `b_hn`. A state_dict holds
    no activation, no merge of directions and no skip, and neither do params: nn.RNN is tanh or
    relu, directions are concatenated, and what `rx.residual` or `rx.reverse` added is not there.

    Args:
      params: of `rx.serial` of layers, or of one layer: `rx.elman`, `rx.lstm`, `rx.projected_lstm`,
        `rx.gru` (reset_after=True), or `rx.bidirectional` of two of these.
      prefix: put before every name.
      bias: False writes none, for `bias=False`, and demands that all are zero.

    Raises:
      TypeError: params of what torch has no layer for. ValueError: layers of unequal kinds or
        widths; a GRU that resets before the product; biases that are not zero with `bias=False`.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> params = rx.gru(2).init(jax.random.key(0), jnp.ones(3))
    >>> sorted(rx.interop.torch.to_state_dict(params))
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    state_dict: dict[str, np.ndarray] = {}
    kinds, width = set(), None
    for n, layer in enumerate(layers_of(params)):
        cells = tuple(layer) if isinstance(layer, Bidirectional) else (layer,)
        for cell, suffix in zip(cells, ("", "_reverse"), strict=False):
            tensors = _write(cell)
            kinds.add((type(cell).__name__, len(cells), np.shape(cell.w_h)))
            if width not in (None, np.shape(cell.w_x)[0]):
                raise ValueError(
                    f"params: layer {n}{suffix} takes {np.shape(cell.w_x)[0]} features, but the "
                    f"layer below gives {width} (torch concatenates directions)"
                )
            if not bias and any(leaf.any() for name, leaf in tensors.items() if "bias" in name):
                raise ValueError(f"bias: False, but layer {n}{suffix} has biases that are not zero")
            for name, leaf in tensors.items():
                if bias or "bias" not in name:
                    state_dict[f"{prefix}{name}_l{n}{suffix}"] = leaf
        width = sum(_output_width(cell) for cell in cells)
    if len(kinds) > 1:
        raise ValueError(
            f"params: a torch module has layers of one kind, width and number of directions, "
            f"got (kind, directions, shape of w_h) {sorted(kinds)}"
        )
    return state_dict


def _write(params: Any) -> dict[str, np.ndarray]:
    """One cell's tensors, without the suffix that names layer and direction."""
    write: dict[type, Callable[..., dict[str, Any]]] = {
        ElmanParams: lambda p: {},
        LSTMParams: lambda p: {},
        ProjectedLSTMParams: lambda p: {"weight_hr": p.w_p.T},
        GRUParams: _gru_bias,
    }
    if type(params) not in write:
        raise TypeError(
            f"params: torch has no layer for {type(params).__name__}; it has those for "
            f"{[kind.__name__ for kind in write]} and Bidirectional pairs of one of them"
        )
    tensors = {
        "weight_ih": params.w_x.T,
        "weight_hh": params.w_h.T,
        "bias_ih": params.b,
        "bias_hh": np.zeros_like(params.b),
    } | write[type(params)](params)
    return {name: np.array(leaf) for name, leaf in tensors.items()}


def _gru_bias(params: GRUParams) -> dict[str, Any]:
    if params.b_hn is None:
        raise ValueError(
            "params: torch's GRU resets after the recurrent product; these are of "
            "rx.gru(..., reset_after=False), which it cannot compute"
        )
    b_hh = np.zeros_like(params.b)
    b_hh[2 * params.b_hn.shape[0] :] = params.b_hn
    return {"bias_hh": b_hh}
