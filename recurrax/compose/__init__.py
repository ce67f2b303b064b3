"""Combinators: networks out of cells."""

from recurrax.compose.dropout import drop, dropout
from recurrax.compose.models import (
    Bidirectional,
    as_model,
    bidirectional,
    residual,
    serial,
    stack,
)

__all__ = [
    "Bidirectional",
    "as_model",
    "bidirectional",
    "drop",
    "dropout",
    "residual",
    "serial",
    "stack",
]
