"""Learning curves: one JSON object a line, and the same numbers for TensorBoard.

A run that resumes goes on writing where its checkpoint left off: what was logged after that step
is cut away first, so a curve has each step once, whatever happened to the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError
from experiments.common.files import read_file, write_file

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends to `metrics.jsonl` in a folder; a context manager.

    Args:
      folder: made if need be.
      resume_step: the step that was restored: later entries are removed. None starts anew.
      tensorboard: whether to write event files, into the folder's `tensorboard/`, too.

    Raises:
      UserError: the folder cannot be written, or the file in it is no metrics file.
    """

    def __init__(
        self, folder: str | Path, *, resume_step: int | None = None, tensorboard: bool = True
    ):
        folder = Path(folder)
        path = folder / FILE
        kept = []
        if resume_step is not None and path.exists():
            kept = [entry for entry in read_metrics(folder) if entry["step"] <= resume_step]
        write_file(path, "".join(f"{json.dumps(entry)}\n" for entry in kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the object
        self._board = None
        if tensorboard:
            from tensorboardX import SummaryWriter  # here: it is slow to import

            purge = None if resume_step is None else resume_step + 1
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes `values`, names to numbers, under `step`. Call it before that step is saved.

        Scalars of JAX and NumPy become Python numbers. What is not finite is written as null,
        because JSON has no other word for it.
        """
        numbers = {name: _number(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": int(step), **numbers}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in numbers.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The entries that `MetricsLog` wrote into `folder`, in order.

    A last line that was cut short, because the process was killed in the middle of it, is left out.

    Raises:
      UserError: the file is missing, or another line is not one of ours; it is named.
    """
    path = Path(folder) / FILE
    lines = read_file(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "step" not in entry:
            raise UserError(f'{path}, line {number}, is not a JSON object with a "step".')
        entries.append(entry)
    return entries


def _number(value: Any) -> float | int | None:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
