"""The operators RNN, GRU and LSTM as models of one sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.cells import (
    ElmanParams,
    GatedLSTMParams,
    GRUParams,
    LSTMParams,
    coupled_lstm,
    elman,
    peephole_lstm,
)
from recurrax.cells import gru as gru_cell
from recurrax.cells import lstm as lstm_cell
from recurrax.compose import Bidirectional, as_model, bidirectional, reverse
from recurrax.core import Cell, PyTree, SequenceModel
from recurrax.interop.arrays import floats, negate, reorder
from recurrax.interop.onnx.cells import (
    Activation,
    OperatorParams,
    activation_functions,
    clipped,
    operator_gru,
    operator_lstm,
)

Names = Sequence[str] | None
Numbers = Sequence[float] | None


def rnn(
    W: Any,
    R: Any,
    B: Any = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
) -> tuple[SequenceModel, PyTree]:
    """The RNN operator as a model of one sequence [T, D], and its params: always `rx.elman`.

    Args:
      W, R, B: the operator's inputs, [directions, H, D], [directions, H, H], [directions, 2H].
      activation_alpha, activation_beta: for the activations that have one, in their order.
      activations: one name a direction; "Tanh" by default.
      clip: bounds what enters an activation.
      direction: "forward", "reverse" or "bidirectional".
      hidden_size: H, which the shapes say too.

    Returns:
      `(model, params)`; a `rx.bidirectional` model concatenates the directions.

    Raises:
      TypeError: no floats. ValueError: shapes that do not fit; an unknown activation or direction;
        activation_alpha or activation_beta of another length than there are activations with one.
    """

    def make(arrays: OperatorParams, functions: list[Activation]) -> tuple[Cell, PyTree]:
        features = arrays.R.shape[1]
        params = ElmanParams(arrays.W.T, arrays.R.T, arrays.B.reshape(2, -1).sum(axis=0))
        return elman(features, activation=functions[0]), params

    arrays = _directions(W, R, B, None, 1, direction, hidden_size)
    scales = (activation_alpha, activation_beta, clip)
    return _model(direction, arrays, make, ("Tanh",), activations, *scales)


def gru(
    W: Any,
    R: Any,
    B: Any = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    linear_before_reset: int = 0,
) -> tuple[SequenceModel, PyTree]:
    """The GRU operator as a model of one sequence [T, D], and its params.

    With the standard's default activations and no `clip` the cell is `rx.gru`, where
    `linear_before_reset` is `reset_after`. (ONNX's z keeps the state; that of
    `rx.gru(reset_after=False)` replaces it, so its weights change sign.) Otherwise the cell's
    params are the operator's own arrays, `OperatorParams`.

    Args:
      W, R, B: the operator's inputs, [directions, 3H, D], [directions, 3H, H], [directions, 6H].
      activations: two names a direction; "Sigmoid", "Tanh" by default.
      linear_before_reset: whether the reset gate follows the recurrent product.
      activation_alpha, activation_beta, clip, direction, hidden_size: as in `rnn`.

    Returns, raises: as `rnn`.
    """
    after = bool(linear_before_reset)

    def make(arrays: OperatorParams, functions: list[Activation]) -> tuple[Cell, PyTree]:
        features = arrays.R.shape[1]
        if functions != [jax.nn.sigmoid, jnp.tanh]:
            return operator_gru(features, *functions, linear_before_reset=after), arrays
        w_x, w_h = (reorder(leaf.T, "zrn", "rzn") for leaf in (arrays.W, arrays.R))
        b_x, b_h = (reorder(leaf, "zrn", "rzn") for leaf in jnp.split(arrays.B, 2))
        if after:
            b_rz, b_hn = jnp.split(b_h, [2 * features])
            params = GRUParams(w_x, w_h, b_x.at[: 2 * features].add(b_rz), b_hn)
        else:
            w_x, w_h, b = (negate(leaf, "z", "rzn") for leaf in (w_x, w_h, b_x + b_h))
            params = GRUParams(w_x, w_h, b, None)
        return gru_cell(features, reset_after=after), params

    arrays = _directions(W, R, B, None, 3, direction, hidden_size)
    scales = (activation_alpha, activation_beta, clip)
    return _model(direction, arrays, make, ("Sigmoid", "Tanh"), activations, *scales)


def lstm(
    W: Any,
    R: Any,
    B: Any = None,
    P: Any = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Names = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
) -> tuple[SequenceModel, PyTree]:
    """The LSTM operator as a model of one sequence [T, D], and its params.

    With the standard's default activations and no `clip` the cell is `rx.lstm`, with peepholes
    `rx.peephole_lstm`, with `input_forget` `rx.coupled_lstm` (then nothing reads the forget gate's
    weights). Otherwise its params are the operator's own arrays, `OperatorParams`.

    Args:
      W, R, B: the operator's inputs, [directions, 4H, D], [directions, 4H, H], [directions, 8H].
      P: peepholes [directions, 3H].
      activations: three names a direction; "Sigmoid", "Tanh", "Tanh" by default.
      input_forget: whether the forget gate is 1 - i.
      clip: bounds what enters the gates and the candidate, not c_t, as in ONNX Runtime.
      activation_alpha, activation_beta, direction, hidden_size: as in `rnn`.

    Returns, raises: as `rnn`.
    """

    def make(arrays: OperatorParams, functions: list[Activation]) -> tuple[Cell, PyTree]:
        features, coupled, peeps = arrays.R.shape[1], bool(input_forget), arrays.P is not None
        if functions != [jax.nn.sigmoid, jnp.tanh, jnp.tanh] or (coupled and peeps):
            f, g, h = functions
            cell = operator_lstm(features, f, g, h, peepholes=peeps, input_forget=coupled)
            return cell, arrays
        gates = "igo" if coupled else "ifgo"
        leaves = [arrays.W.T, arrays.R.T, arrays.B.reshape(2, -1).sum(axis=0)]
        w_x, w_h, b = (reorder(leaf, "iofg", gates) for leaf in leaves)
        if arrays.P is not None:
            p_i, p_o, p_f = jnp.split(arrays.P, 3)
            return peephole_lstm(features), GatedLSTMParams(w_x, w_h, b, p_i, p_f, p_o)
        if coupled:
            return coupled_lstm(features), GatedLSTMParams(w_x, w_h, b)
        return lstm_cell(features), LSTMParams(w_x, w_h, b)

    arrays = _directions(W, R, B, P, 4, direction, hidden_size)
    scales = (activation_alpha, activation_beta, clip)
    return _model(direction, arrays, make, ("Sigmoid", "Tanh", "Tanh"), activations, *scales)


def _directions(
    W: Any, R: Any, B: Any, P: Any, gates: int, direction: str, hidden_size: int | None
) -> list[OperatorParams]:
    """The inputs of each direction, their shapes checked; no B is zeros."""
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(
            f"direction: expected 'forward', 'reverse' or 'bidirectional', got {direction!r}"
        )
    count = 2 if direction == "bidirectional" else 1
    W, R = floats("W", W), floats("R", R)
    if W.ndim != 3 or R.ndim != 3:
        raise ValueError(
            f"W, R: expected [directions, {gates} H, D] and [directions, {gates} H, H], got shapes "
            f"{W.shape} and {R.shape}"
        )
    features = R.shape[2]
    if hidden_size not in (None, features):
        raise ValueError(f"hidden_size: R is for {features}, got {hidden_size}")
    width = gates * features
    floats("W", W, (count, width, W.shape[2]))
    floats("R", R, (count, width, features))
    B = jnp.zeros((count, 2 * width), W.dtype) if B is None else floats("B", B, (count, 2 * width))
    P = None if P is None else floats("P", P, (count, 3 * features))
    return [OperatorParams(W[d], R[d], B[d], None if P is None else P[d]) for d in range(count)]


def _model(
    direction: str,
    arrays: list[OperatorParams],
    make: Callable[[OperatorParams, list[Activation]], tuple[Cell, PyTree]],
    defaults: tuple[str, ...],
    names: Names,
    alphas: Numbers,
    betas: Numbers,
    clip: float | None,
) -> tuple[SequenceModel, PyTree]:
    """The cells that `make` makes, in their directions."""
    if clip is not None and not clip > 0:
        raise ValueError(f"clip: expected a positive bound, or None, got {clip}")
    names = defaults * len(arrays) if names is None else names
    if len(names) != len(defaults) * len(arrays):
        raise ValueError(
            f"activations: expected {len(defaults)} a direction, {len(defaults) * len(arrays)} in "
            f"all, got {list(names)}"
        )
    n = len(defaults)
    functions = [
        clipped(f, None if k % n == 2 else clip)  # the third is the LSTM's of c_t; see `lstm`
        for k, f in enumerate(activation_functions(names, alphas, betas))
    ]
    cells = [make(a, functions[d * n : (d + 1) * n]) for d, a in enumerate(arrays)]
    if direction == "bidirectional":
        return bidirectional(*(c for c, _ in cells)), Bidirectional(*(p for _, p in cells))
    cell, params = cells[0]
    return reverse(cell) if direction == "reverse" else as_model(cell), params
