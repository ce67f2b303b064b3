"""recurrax: recurrent neural networks in JAX. Write the maths of a cell, get a fast model.

>>> import recurrax as rx
"""

from recurrax import decode as decode
from recurrax import initializers as initializers
from recurrax.attention import Attention as Attention
from recurrax.attention import Memory as Memory
from recurrax.attention import additive as additive
from recurrax.attention import dot as dot
from recurrax.attention import general as general
from recurrax.attention import scaled_dot as scaled_dot
from recurrax.cells import DenseParams as DenseParams
from recurrax.cells import ElmanParams as ElmanParams
from recurrax.cells import GRUParams as GRUParams
from recurrax.cells import LSTMParams as LSTMParams
from recurrax.cells import LSTMState as LSTMState
from recurrax.cells import dense as dense
from recurrax.cells import elman as elman
from recurrax.cells import gru as gru
from recurrax.cells import lstm as lstm
from recurrax.compose import Bidirectional as Bidirectional
from recurrax.compose import as_model as as_model
from recurrax.compose import bidirectional as bidirectional
from recurrax.compose import drop as drop
from recurrax.compose import dropout as dropout
from recurrax.compose import residual as residual
from recurrax.compose import serial as serial
from recurrax.compose import stack as stack
from recurrax.core import Cell as Cell
from recurrax.core import SequenceModel as SequenceModel
from recurrax.core import as_cell as as_cell
from recurrax.decode import BeamResult as BeamResult
from recurrax.decode import ScoreResult as ScoreResult
from recurrax.decode import StepOutput as StepOutput
from recurrax.decode import StopReason as StopReason
from recurrax.decode import average as average
from recurrax.decode import beam_search as beam_search
from recurrax.decode import gnmt as gnmt
from recurrax.decode import greedy as greedy
from recurrax.decode import processed as processed
from recurrax.decode import sample as sample
from recurrax.decode import score as score
from recurrax.decode import word_reward as word_reward
from recurrax.gradients import ClippingReport as ClippingReport
from recurrax.gradients import clipped as clipped
from recurrax.gradients import clipping_report as clipping_report
from recurrax.scan import ScanReport as ScanReport
from recurrax.scan import matmul as matmul
from recurrax.scan import scan as scan
from recurrax.scan import scan_report as scan_report
from recurrax.scan import unroll as unroll

__version__ = "0.1.0"
