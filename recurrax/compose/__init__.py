"""Combinators: networks out of cells."""

from recurrax.compose.bidirectional import Bidirectional, bidirectional, reverse
from recurrax.compose.clockwork import clockwork_by_module
from recurrax.compose.dropout import drop, dropout
from recurrax.compose.generate import autoregressive, one_step
from recurrax.compose.layers import Unaligned, as_model
from recurrax.compose.learned_state import LearnedStateParams, learned_state
from recurrax.compose.models import serial, stack
from recurrax.compose.norm import LayerNormParams, RMSNormParams, layer_norm, rms_norm
from recurrax.compose.pooling import AttentionPoolParams, attention_pool, pool
from recurrax.compose.recurrent_dropout import (
    drop_weights,
    recurrent_dropout,
    state_dropout,
    weight_dropout,
)
from recurrax.compose.skips import densely_connected, residual
from recurrax.compose.zoneout import zoneout

__all__ = [
    "AttentionPoolParams",
    "Bidirectional",
    "LayerNormParams",
    "LearnedStateParams",
    "RMSNormParams",
    "Unaligned",
    "as_model",
    "attention_pool",
    "autoregressive",
    "bidirectional",
    "clockwork_by_module",
    "densely_connected",
    "drop",
    "drop_weights",
    "dropout",
    "layer_norm",
    "learned_state",
    "one_step",
    "pool",
    "recurrent_dropout",
    "residual",
    "reverse",
    "rms_norm",
    "serial",
    "stack",
    "state_dropout",
    "weight_dropout",
    "zoneout",
]
