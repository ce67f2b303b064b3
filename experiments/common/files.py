"""Small files that are written whole or not at all, and read with errors that name them.

A reader, another process too, sees the old content or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import portalocker

from experiments.common.errors import UserError


def write_file(path: str | Path, content: bytes | str) -> None:
    """Writes `content` (text as UTF-8) to `path` through a temporary file beside it.

    Makes the folder if need be.

    Raises:
      UserError: it cannot be written (no space, no permission); what was there stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # its folder may be no folder
            part.unlink()
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from error


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, as `write_file` does."""
    write_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process; the system gives it back when a process ends, killed or not.

    Makes the folder if need be.

    Raises:
      UserError: another process is at work in it, or it cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(portalocker.Lock(folder / ".lock", fail_when_locked=True))
        except portalocker.AlreadyLocked as error:
            raise UserError(f"another process is at work in {folder}; wait for it.") from error
        except portalocker.LockException:
            pass  # a file system without locks
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror or error}.") from error
        yield


def read_file(path: str | Path) -> bytes:
    """The bytes of `path`.

    Raises:
      UserError: it is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error


def file_in(path: Path, names: Sequence[str]) -> Path:
    """`path`, or where it is a folder the first of `names` in it.

    Raises:
      UserError: the folder holds none of them.
    """
    if not path.is_dir():
        return path
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise UserError(f"{path} holds no {' or '.join(names)}.")
    return found[0]


def read_json(path: str | Path) -> Any:
    """The value in the JSON file `path`.

    Raises:
      UserError: it is missing, cannot be read, or is not JSON (cut short, say).
    """
    try:
        return json.loads(read_file(path))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON, perhaps cut short: {error}.") from error
