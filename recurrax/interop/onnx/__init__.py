"""ONNX: the operators RNN, GRU and LSTM, from their inputs and attributes as arrays and numbers.

`rnn`, `gru` and `lstm` make a model of one operator, `run` evaluates the operator as a whole, batch
and all, and `to_operator` writes the operator that our params are. Names, defaults and meanings are
those of the standard (opset 22). The package onnx is not needed.

Three conventions are those of ONNX Runtime, where the standard is silent or unclear: `input_forget`
makes the forget gate 1 - i; `clip`, "applied to the input of activations", does not bound c_t where
the LSTM's last one takes it; each activation that has an alpha or a beta takes the next of its
list. Where a sequence has length 0, its final state is its initial one.
"""

from recurrax.interop.onnx.cells import OperatorParams
from recurrax.interop.onnx.evaluate import run
from recurrax.interop.onnx.operators import gru, lstm, rnn
from recurrax.interop.onnx.write import Operator, to_operator

__all__ = ["Operator", "OperatorParams", "gru", "lstm", "rnn", "run", "to_operator"]
