"""An operator as a whole: a batch, its lengths and its layout, in and out."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from recurrax.cells import LSTMState
from recurrax.compose import Bidirectional
from recurrax.interop.arrays import floats
from recurrax.interop.onnx.operators import gru, lstm, rnn

_OPERATORS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}


def run(
    op_type: str,
    X: Any,
    W: Any,
    R: Any,
    B: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    P: Any = None,
    *,
    layout: int = 0,
    **attributes: Any,
) -> tuple[jax.Array, ...]:
    """The operator itself: its inputs in, its outputs out, with the batch.

    Args:
      op_type: "RNN", "GRU" or "LSTM".
      X: [T, B, D], or [B, T, D] with layout=1.
      W, R, B, P: the weights, as in `rnn`, `gru` and `lstm`.
      sequence_lens: integers [B], T each by default.
      initial_h, initial_c: [directions, B, H], or [B, directions, H] with layout=1.
      layout: 1 puts the batch first.
      **attributes: those of `rnn`, `gru` or `lstm`.

    Returns:
      `(Y, Y_h)`, of an LSTM `(Y, Y_h, Y_c)`: Y [T, directions, B, H], zero past a length, or
      [B, T, directions, H] with layout=1; the final states as the initial ones.

    Raises:
      TypeError: an attribute or input that the operator has not; sequence_lens that are no
        integers. ValueError: as `rnn`; inputs whose shapes do not fit.

    >>> import numpy as np, recurrax as rx
    >>> X, W, R = np.ones((5, 2, 3)), np.ones((1, 4, 3)), np.ones((1, 4, 4))
    >>> Y, Y_h = rx.interop.onnx.run("RNN", X, W, R, clip=0.5)
    >>> Y.shape, Y_h.shape
    ((5, 1, 2, 4), (1, 2, 4))
    """
    if op_type not in _OPERATORS:
        raise ValueError(f"op_type: expected one of {list(_OPERATORS)}, got {op_type!r}")
    if layout not in (0, 1):
        raise ValueError(f"layout: expected 0 or 1, got {layout!r}")
    extra = {"initial_c": initial_c, "P": P}
    if op_type != "LSTM" and any(value is not None for value in extra.values()):
        raise TypeError(f"{op_type}: has no inputs initial_c and P; those are the LSTM's")
    peepholes = {"P": P} if op_type == "LSTM" else {}
    model, params = _OPERATORS[op_type](W, R, B, **peepholes, **attributes)

    X = floats("X", X)
    directions, _, features = np.shape(R)
    if X.ndim != 3:
        raise ValueError(f"X: expected three axes, time, batch and input, got shape {X.shape}")
    xs = X if layout else X.swapaxes(0, 1)
    batch, steps, _ = xs.shape

    def initial(name: str, value: Any) -> jax.Array:
        """[directions, B, H]"""
        if value is None:
            return jnp.zeros((directions, batch, features), xs.dtype)
        shape = (batch, directions, features) if layout else (directions, batch, features)
        value = floats(name, value, shape)
        return value.swapaxes(0, 1) if layout else value

    state: Any = list(initial("initial_h", initial_h))
    if op_type == "LSTM":
        state = [LSTMState(*ch) for ch in zip(initial("initial_c", initial_c), state, strict=True)]
    state = Bidirectional(*state) if directions == 2 else state[0]
    lengths = None if sequence_lens is None else _lengths(sequence_lens, batch, steps)
    state, ys = jax.vmap(lambda x, s, n: model.apply(params, x, state=s, length=n))(
        xs, state, lengths
    )

    ys = ys.reshape(batch, steps, directions, features)
    states = state if directions == 2 else (state,)
    finals = [s if isinstance(s, LSTMState) else LSTMState(s, s) for s in states]
    parts = ("h", "c") if op_type == "LSTM" else ("h",)
    last = [jnp.stack([getattr(s, part) for s in finals], axis=layout) for part in parts]
    return ys if layout else ys.transpose(1, 2, 0, 3), *last


def _lengths(sequence_lens: Any, batch: int, steps: int) -> jax.Array:
    lengths = jnp.asarray(sequence_lens)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"sequence_lens: expected integers, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"sequence_lens: expected shape [B={batch}], got {lengths.shape}")
    if not isinstance(lengths, jax.core.Tracer) and not bool(
        jnp.all((lengths >= 0) & (lengths <= steps))
    ):
        raise ValueError(f"sequence_lens: expected numbers from 0 to {steps}, got {lengths}")
    return lengths
