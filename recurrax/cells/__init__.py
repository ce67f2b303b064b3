"""The cells: one family a file, the equations and nothing else."""

from recurrax.cells.dense import DenseParams, dense
from recurrax.cells.elman import ElmanParams, elman
from recurrax.cells.gru import GRUParams, gru
from recurrax.cells.lstm import LSTMParams, LSTMState, lstm

__all__ = [
    "DenseParams",
    "ElmanParams",
    "GRUParams",
    "LSTMParams",
    "LSTMState",
    "dense",
    "elman",
    "gru",
    "lstm",
]
