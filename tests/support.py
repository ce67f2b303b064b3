"""What the tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextlib.contextmanager
def x64() -> Iterator[None]:
    """Float64 inside; a context manager and, as contextlib makes it, a decorator."""
    with jax.enable_x64(True):
        yield


@contextlib.contextmanager
def programs_on_disk(folder: Path) -> Iterator[None]:
    """Every run of an experiment makes its own programs; a cache on disk spares compiling them."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(folder), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
