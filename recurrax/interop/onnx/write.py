"""Our params as the operator that computes what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recurrax.cells import ElmanParams, GatedLSTMParams, GRUParams, LSTMParams
from recurrax.compose import Bidirectional
from recurrax.core import PyTree
from recurrax.interop.arrays import negate, reorder


class Operator(NamedTuple):
    """An ONNX node: `inputs` and `attributes` by the names that the standard gives them."""

    op_type: str
    inputs: dict[str, np.ndarray]
    attributes: dict[str, Any]


def to_operator(
    params: PyTree,
    *,
    activations: Sequence[str] | None = None,
    direction: str | None = None,
    input_forget: int = 0,
) -> Operator:
    """The operator that computes what these params do.

    Our one bias becomes that of W, and that of R zero but for the GRU's `b_hn`. What params do not
    hold must be said: the activation of an `rx.elman` other than tanh, that a layer is run by
    `rx.reverse`, and that the params are of an `rx.coupled_lstm`; those of an LSTM without a forget
    gate look the same. ONNX has no skip: that of an `rx.residual` is an Add of its own.

    Args:
      params: of `rx.elman`, `rx.lstm`, `rx.peephole_lstm`, `rx.coupled_lstm`, `rx.gru`, or of
        `rx.bidirectional` of two of a kind, which is concatenated.
      activations: of an `rx.elman`, one name a direction.
      direction: "forward", "reverse" or "bidirectional"; by default the first, or of two
        directions, which can have no other, the last.
      input_forget: 1 for an `rx.coupled_lstm`.

    Raises:
      TypeError: params of what ONNX has no operator for. ValueError: two directions of unequal
        kinds or widths; a `direction` that is not that of params; `activations` or `input_forget`
        of params that have none.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> params = rx.gru(4).init(jax.random.key(0), jnp.ones(3))
    >>> operator = rx.interop.onnx.to_operator(params)
    >>> operator.op_type, operator.inputs["W"].shape, operator.attributes["linear_before_reset"]
    ('GRU', (1, 12, 3), 1)
    """
    cells = tuple(params) if isinstance(params, Bidirectional) else (params,)
    nodes = [_node(cell, bool(input_forget)) for cell in cells]
    alike = [
        (n.op_type, n.attributes, {name: leaf.shape for name, leaf in n.inputs.items()})
        for n in nodes
    ]
    if alike[0] != alike[-1]:
        raise ValueError(f"params: two directions must be alike, got {alike[0]} and {alike[1]}")
    op_type, attributes = nodes[0].op_type, nodes[0].attributes
    directions = ("bidirectional",) if len(nodes) == 2 else ("forward", "reverse")
    if direction not in (None, *directions):
        raise ValueError(f"direction: expected {' or '.join(directions)}, got {direction!r}")
    attributes["direction"] = direction or directions[0]
    if activations is not None:
        if op_type != "RNN" or len(activations) != len(nodes):
            raise ValueError(
                f"activations: expected one a direction of an rx.elman, whose alone vary, got "
                f"{list(activations)} for {op_type} with {len(nodes)} direction(s)"
            )
        attributes["activations"] = list(activations)
    inputs = {name: np.stack([n.inputs[name] for n in nodes]) for name in nodes[0].inputs}
    return Operator(op_type, inputs, attributes)


def _node(params: Any, input_forget: bool) -> Operator:
    """One direction of the operator, without the axis of directions."""
    if type(params) not in (ElmanParams, LSTMParams, GatedLSTMParams, GRUParams):
        raise TypeError(
            f"params: expected those of rx.elman, rx.lstm, rx.peephole_lstm, rx.coupled_lstm or "
            f"rx.gru, got {type(params).__name__}, for which ONNX has no operator"
        )
    coupled = isinstance(params, GatedLSTMParams) and _blocks(params) == 3
    if coupled != input_forget:
        raise ValueError(
            f"input_forget: expected 1 for params of rx.coupled_lstm and 0 for others, got "
            f"{int(input_forget)} for {type(params).__name__} with {_blocks(params)} block(s)"
        )
    leaves = [np.array(leaf) for leaf in params[:3]]
    features = leaves[1].shape[0]
    match params:
        case ElmanParams():
            return _operator("RNN", leaves)
        case LSTMParams():
            return _operator("LSTM", [reorder(leaf, "ifgo", "iofg") for leaf in leaves])
        case GRUParams(b_hn=None):  # its z replaces the state, ONNX's keeps it
            leaves = [negate(reorder(leaf, "rzn", "zrn"), "z", "zrn") for leaf in leaves]
            return _operator("GRU", leaves, linear_before_reset=0)
        case GRUParams(b_hn=b_hn):
            leaves = [reorder(leaf, "rzn", "zrn") for leaf in leaves]
            b_h = np.concatenate([np.zeros(2 * features, leaves[2].dtype), np.asarray(b_hn)])
            return _operator("GRU", leaves, b_h, linear_before_reset=1)
    peepholes = [params.p_i, params.p_o, params.p_f]
    peeps = any(p is not None for p in peepholes)
    if params.w_g is not None or _blocks(params) not in (3, 4) or (coupled and peeps):
        raise TypeError(
            "params: of GatedLSTMParams, expected those of rx.peephole_lstm or rx.coupled_lstm"
        )
    if coupled:  # the operator has a forget gate's weights, which it does not read
        zeros = [np.zeros_like(leaf[..., :features]) for leaf in leaves]
        leaves = [np.concatenate(both, axis=-1) for both in zip(leaves, zeros, strict=True)]
        leaves = [reorder(leaf, "igof", "iofg") for leaf in leaves]
        return _operator("LSTM", leaves, input_forget=1)
    none = np.zeros_like(leaves[2][:features])
    node = _operator("LSTM", [reorder(leaf, "ifgo", "iofg") for leaf in leaves])
    node.inputs["P"] = np.concatenate([none if p is None else p for p in peepholes])
    return node


def _blocks(params: Any) -> int:
    return params.w_h.shape[1] // params.w_h.shape[0]


def _operator(op_type: str, leaves: list[np.ndarray], b_h: Any = None, **more: Any) -> Operator:
    w_x, w_h, b = leaves
    B = np.concatenate([b, np.zeros_like(b) if b_h is None else b_h])
    inputs = {"W": w_x.T, "R": w_h.T, "B": B}
    return Operator(op_type, inputs, {"hidden_size": w_h.shape[0], **more})
