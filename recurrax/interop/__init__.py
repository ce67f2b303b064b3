"""Parameters of other libraries, in and out. None of those libraries is imported with recurrax.

A module is imported when it is first asked for: `rx.interop.torch`, `rx.interop.onnx`.
"""

from __future__ import annotations

import importlib
from typing import Any

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
