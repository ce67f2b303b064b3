"""The LSTMs that differ from the standard one in a gate or in what the gates see."""

from __future__ import annotations

import jax.numpy as jnp

from recurrax.cells.gated_lstm import gated_lstm
from recurrax.core import Cell
from recurrax.initializers import Initializer, glorot_uniform, orthogonal


def lstm_1997(
    features: int,
    *,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The first long short-term memory (Hochreiter and Schmidhuber, 1997): no forget gate.

        [i, g, o] = x_t W_x + h_{t-1} W_h + b
        c_t = c_{t-1} + sigmoid(i) * 2 tanh(g / 2)
        h_t = sigmoid(o) * tanh(c_t / 2),    y_t = h_t

    The squashing functions are the paper's, 4 sigmoid(g) - 2 and 2 sigmoid(c_t) - 1; with tanh for
    both it is `greff_lstm(features, forget_gate=False, peepholes=False)`. That, with
    `full_gate_recurrence=True`, has also the connections from gate to gate of the paper's
    experiments. The gradient is the whole one, where the paper cuts it off at the gates. The state
    is `LSTMState(c, h)`; the cell state can grow with the length of the sequence.

    Args:
      features: H, the width of both halves of the state and of the output.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell; x is
        not a floating vector of width D.
    """
    return gated_lstm(
        f"lstm_1997({features})",
        features,
        gates="io",
        input_activation=lambda g: 2 * jnp.tanh(g / 2),
        output_activation=lambda c: jnp.tanh(c / 2),
        w_x_init=w_x_init,
        w_h_init=w_h_init,
    )


def peephole_lstm(
    features: int,
    peepholes: tuple[str, ...] = ("i", "f", "o"),
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The LSTM whose gates see the cell state (Gers and Schmidhuber, 2000; Gers et al., 2002).

        [i, f, g, o] = x_t W_x + h_{t-1} W_h + b
        c_t = sigmoid(f + p_f * c_{t-1}) * c_{t-1} + sigmoid(i + p_i * c_{t-1}) * tanh(g)
        h_t = sigmoid(o + p_o * c_t) * tanh(c_t),    y_t = h_t

    The output gate sees the new cell state, the other two see the old one. A peephole is a vector,
    zero at first, so that the cell begins as `lstm`. The state is `LSTMState(c, h)`. Both tanh are
    those of later texts (Graves and Schmidhuber, 2005): the first paper leaves out the one of c_t,
    as does `greff_lstm(features, output_activation=False)`.

    Args:
      features: H, the width of both halves of the state and of the output.
      peepholes: which gates have one, of "i", "f" and "o".
      forget_bias, w_x_init, w_h_init: as in `lstm`.

    Raises:
      TypeError, ValueError: `features` is no positive int; `peepholes` is no tuple of gates;
        params or state of another cell; x is not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.peephole_lstm(4, peepholes=("o",))
    >>> cell
    peephole_lstm(4, peepholes=('o',))
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> params.p_i, params.p_o.shape
    (None, (4,))
    """
    if not isinstance(peepholes, tuple):
        raise TypeError(f"peephole_lstm: peepholes must be a tuple of gates, got {peepholes!r}")
    if not set(peepholes) <= set("ifo"):
        raise ValueError(f"peephole_lstm: peepholes must be of 'i', 'f' and 'o', got {peepholes!r}")
    some = f", peepholes={peepholes!r}" if set(peepholes) != set("ifo") else ""
    return gated_lstm(
        f"peephole_lstm({features}{some})",
        features,
        peepholes="".join(k for k in "ifo" if k in peepholes),
        forget_bias=forget_bias,
        w_x_init=w_x_init,
        w_h_init=w_h_init,
    )


def coupled_lstm(
    features: int,
    *,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The LSTM whose input and forget gates are one, CIFG (Greff et al., 2017, arXiv:1503.04069).

        [i, g, o] = x_t W_x + h_{t-1} W_h + b
        c_t = (1 - sigmoid(i)) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t),    y_t = h_t

    What is forgotten is what is written over, as in the GRU, and |c_t| stays below 1. A quarter
    fewer weights than `lstm`. The state is `LSTMState(c, h)`.

    Args:
      features: H, the width of both halves of the state and of the output.
      forget_bias: the bias that the gate 1 - sigmoid(i) = sigmoid(-i) starts with; `init` writes
        its negative into i's. A number, or an initializer that draws it.
      w_x_init: draws each gate's block of W_x.
      w_h_init: draws each gate's block of W_h.

    Raises:
      TypeError, ValueError: `features` is no positive int; params or state of another cell; x is
        not a floating vector of width D.
    """
    return gated_lstm(
        f"coupled_lstm({features})",
        features,
        gates="io",
        coupled=True,
        forget_bias=forget_bias,
        w_x_init=w_x_init,
        w_h_init=w_h_init,
    )
