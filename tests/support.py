"""What the tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def x64() -> Iterator[None]:
    """Float64 inside; a context manager and, as contextlib makes it, a decorator."""
    with jax.enable_x64(True):
        yield
