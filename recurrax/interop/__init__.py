"""Parameters of other libraries, in and out. None of those libraries is imported with recurrax.

A module is imported when it is first asked for: `rx.interop.torch`, `rx.interop.onnx`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurrax.interop import equinox as equinox
    from recurrax.interop import flax_linen as flax_linen
    from recurrax.interop import flax_nnx as flax_nnx
    from recurrax.interop import haiku as haiku
    from recurrax.interop import keras as keras
    from recurrax.interop import onnx as onnx
    from recurrax.interop import torch as torch

__all__ = [
    "equinox",
    "flax_linen",
    "flax_nnx",
    "haiku",
    "keras",
    "onnx",
    "torch",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return __all__
