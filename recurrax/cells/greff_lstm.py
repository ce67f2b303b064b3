"""The LSTM with each of its parts on or off."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from recurrax.cells.gated_lstm import gated_lstm
from recurrax.core import Cell
from recurrax.initializers import Initializer, glorot_uniform, orthogonal


def _linear(x: jax.Array) -> jax.Array:
    return x


def greff_lstm(
    features: int,
    *,
    input_gate: bool = True,
    forget_gate: bool = True,
    output_gate: bool = True,
    input_activation: bool = True,
    output_activation: bool = True,
    peepholes: bool = True,
    coupled: bool = False,
    full_gate_recurrence: bool = False,
    forget_bias: float | Initializer = 1.0,
    w_x_init: Initializer = glorot_uniform,
    w_h_init: Initializer = orthogonal,
) -> Cell:
    """The LSTM of "LSTM: A search space odyssey" (Greff et al., 2017, arXiv:1503.04069), a switch
    an ablation.

        i = sigmoid(x_t W_xi + h_{t-1} W_hi + b_i + p_i * c_{t-1})
        f = sigmoid(x_t W_xf + h_{t-1} W_hf + b_f + p_f * c_{t-1})
        c_t = f * c_{t-1} + i * tanh(x_t W_xg + h_{t-1} W_hg + b_g)
        o = sigmoid(x_t W_xo + h_{t-1} W_ho + b_o + p_o * c_t)
        h_t = o * tanh(c_t),    y_t = h_t

    With every switch as it stands it is the paper's vanilla LSTM. What the ablations change:

        NIG   input_gate=False            i = 1
        NFG   forget_gate=False           f = 1
        NOG   output_gate=False           o = 1
        NIAF  input_activation=False      no tanh on what enters the cell
        NOAF  output_activation=False     no tanh on what leaves it
        CIFG  coupled=True                f = 1 - i
        NP    peepholes=False             no p_i, p_f, p_o
        FGR   full_gate_recurrence=True   + [i, f, o]_{t-1} W_g in each of the gates

    The state is `LSTMState(c, h)`, with full gate recurrence `FullGateState(c, h, gates)`. One
    recurrent product a step; with full gate recurrence two, of which neither waits for the other.

    Args:
      features: H, the width of the state and of the output.
      forget_bias: as in `lstm`; where the gates are coupled, i's bias starts at its negative.
      w_x_init: draws each block of W_x.
      w_h_init: draws each block of W_h and of W_g.

    Raises:
      TypeError, ValueError: `features` is no positive int; a switch is no bool; coupled gates
        without both of them; full recurrence without a gate; params or state of another cell;
        x is not a floating vector of width D.

    >>> import recurrax as rx
    >>> rx.greff_lstm(8, output_gate=False)
    greff_lstm(8, output_gate=False)
    """
    switches = {
        "input_gate": (input_gate, True),
        "forget_gate": (forget_gate, True),
        "output_gate": (output_gate, True),
        "input_activation": (input_activation, True),
        "output_activation": (output_activation, True),
        "peepholes": (peepholes, True),
        "coupled": (coupled, False),
        "full_gate_recurrence": (full_gate_recurrence, False),
    }
    changed = [f", {k}={value!r}" for k, (value, default) in switches.items() if value != default]
    name = f"greff_lstm({features}{''.join(changed)})"
    for switch, (value, _) in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"greff_lstm: {switch} must be a bool, got {value!r}")
    if coupled and not (input_gate and forget_gate):
        raise ValueError(f"{name}: coupled means f = 1 - i, so that both gates must be there")
    on = {"i": input_gate, "f": forget_gate and not coupled, "o": output_gate}
    gates = "".join(k for k, there in on.items() if there)
    if full_gate_recurrence and not gates:
        raise ValueError(f"{name}: full_gate_recurrence needs a gate, and all are off")
    return gated_lstm(
        name,
        features,
        gates=gates,
        peepholes=gates if peepholes else "",
        coupled=coupled,
        full_gate_recurrence=full_gate_recurrence,
        input_activation=jnp.tanh if input_activation else _linear,
        output_activation=jnp.tanh if output_activation else _linear,
        forget_bias=forget_bias,
        w_x_init=w_x_init,
        w_h_init=w_h_init,
    )
