"""One checkpoint as a folder of files: written by orbax, checked by size and checksum.

00000300/
  info.json   step, metric, data; shape and dtype of each leaf; size and checksum of each file
  leaves/     the arrays by name, as orbax writes a flat dictionary
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.errors import UserError
from experiments.common.files import read_json, write_json

_INFO, _LEAVES = "info.json", "leaves"
_ROOM = 1 << 16
"""Bytes that a checkpoint takes beside its arrays."""


def write_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], info: dict[str, Any]) -> None:
    """Writes `arrays` and `info` into the new folder `path`; any exception means: remove it."""
    import orbax.checkpoint as ocp  # here: it takes a second, and `--help` should not

    path.mkdir()
    # Orbax holds no array without entries; its shape in `info` says everything.
    full = {name: array for name, array in arrays.items() if array.size}
    needed = sum(array.nbytes for array in full.values()) + _ROOM
    if shutil.disk_usage(path).free < needed:
        # Found out now, for where writes fail, orbax's threads print pages beside what it raises.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save((path / _LEAVES).absolute(), args=ocp.args.PyTreeSave(full))
    leaves = {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()}
    files = {
        str(file.relative_to(path)): [file.stat().st_size, _checksum(file)]
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    write_json(path / _INFO, {**info, "arrays": leaves, "files": files})


def read_info(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` was given as `info`, and more for the functions below.

    Raises:
      UserError: a file is missing or its size is wrong; the content is not looked at.
    """
    info = read_json(path / _INFO)
    for name, (size, _) in info["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            raise UserError(f"checkpoint {path} is damaged: {name} is missing or cut short.")
    return info


def check_content(path: Path, info: Mapping[str, Any]) -> None:
    """Reads every file once.

    Raises:
      UserError: one cannot be read, or its content is not what was written.
    """
    for name, (_, checksum) in info["files"].items():
        try:
            found = _checksum(path / name)
        except OSError as error:
            raise UserError(f"cannot read {path / name}: {error.strerror or error}.") from error
        if found != checksum:
            raise UserError(f"checkpoint {path} is damaged: the content of {name} has changed.")


def read_arrays(path: Path, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays by name."""
    import orbax.checkpoint as ocp

    shapes = info["arrays"]
    wanted = {
        name: ocp.RestoreArgs(restore_type=np.ndarray)
        for name in shapes
        if 0 not in shapes[name][0]
    }
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        arrays = reader.restore(
            (path / _LEAVES).absolute(), args=ocp.args.PyTreeRestore(restore_args=wanted)
        )
    empty = {name: np.empty(*shapes[name]) for name in shapes if name not in wanted}
    return {**arrays, **empty}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax from logging pages about what it also raises."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _checksum(file: Path) -> int:
    with open(file, "rb") as stream:
        value = 0
        while chunk := stream.read(1 << 22):
            value = zlib.crc32(chunk, value)
    return value
