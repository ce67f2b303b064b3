"""The cells: one family a file, the equations and nothing else."""

from recurrax.cells.antisymmetric import AntisymmetricParams, antisymmetric
from recurrax.cells.clockwork import ClockworkParams, ClockworkState, clockwork
from recurrax.cells.conv import ConvGRUParams, ConvLSTMParams, conv_gru, conv_lstm
from recurrax.cells.cornn import CoRNNParams, CoRNNState, cornn
from recurrax.cells.dense import DenseParams, dense
from recurrax.cells.depth_gated_lstm import DepthGatedLSTMParams, depth_gated_lstm
from recurrax.cells.diagonal import DiagonalState
from recurrax.cells.elman import ElmanParams, elman, irnn
from recurrax.cells.gated_lstm import FullGateState, GatedLSTMParams
from recurrax.cells.greff_lstm import greff_lstm
from recurrax.cells.gru import GRUParams, gru
from recurrax.cells.indrnn import IndRNNParams, indrnn
from recurrax.cells.jordan import JordanParams, jordan
from recurrax.cells.layer_norm_gru import LayerNormGRUParams, layer_norm_gru
from recurrax.cells.layer_norm_lstm import LayerNormLSTMParams, layer_norm_lstm
from recurrax.cells.lem import LEMParams, LEMState, lem
from recurrax.cells.lru import LRUParams, lru
from recurrax.cells.lstm import LSTMParams, LSTMState, lstm
from recurrax.cells.lstm_variants import coupled_lstm, lstm_1997, peephole_lstm
from recurrax.cells.minimal import MinGRUParams, MinLSTMParams, min_gru, min_lstm
from recurrax.cells.projected_lstm import ProjectedLSTMParams, projected_lstm
from recurrax.cells.rg_lru import RGLRUParams, rg_lru
from recurrax.cells.rhn import RHNParams, rhn
from recurrax.cells.s4d import S4DParams, s4d
from recurrax.cells.s5 import S5Params, s5
from recurrax.cells.single_gate import MGUParams, UGRNNParams, mgu, ugrnn
from recurrax.cells.xlstm import MLSTMParams, MLSTMState, SLSTMParams, SLSTMState, mlstm, slstm

__all__ = [
    "AntisymmetricParams",
    "ClockworkParams",
    "ClockworkState",
    "CoRNNParams",
    "CoRNNState",
    "ConvGRUParams",
    "ConvLSTMParams",
    "DenseParams",
    "DepthGatedLSTMParams",
    "DiagonalState",
    "ElmanParams",
    "FullGateState",
    "GRUParams",
    "GatedLSTMParams",
    "IndRNNParams",
    "JordanParams",
    "LEMParams",
    "LEMState",
    "LRUParams",
    "LSTMParams",
    "LSTMState",
    "LayerNormGRUParams",
    "LayerNormLSTMParams",
    "MGUParams",
    "MLSTMParams",
    "MLSTMState",
    "MinGRUParams",
    "MinLSTMParams",
    "ProjectedLSTMParams",
    "RGLRUParams",
    "RHNParams",
    "S4DParams",
    "S5Params",
    "SLSTMParams",
    "SLSTMState",
    "UGRNNParams",
    "antisymmetric",
    "clockwork",
    "conv_gru",
    "conv_lstm",
    "cornn",
    "coupled_lstm",
    "dense",
    "depth_gated_lstm",
    "elman",
    "greff_lstm",
    "gru",
    "indrnn",
    "irnn",
    "jordan",
    "layer_norm_gru",
    "layer_norm_lstm",
    "lem",
    "lru",
    "lstm",
    "lstm_1997",
    "mgu",
    "min_gru",
    "min_lstm",
    "mlstm",
    "peephole_lstm",
    "projected_lstm",
    "rg_lru",
    "rhn",
    "s4d",
    "s5",
    "slstm",
    "ugrnn",
]
