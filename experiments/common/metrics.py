"""Learning curves: one JSON object a line, and the same numbers for TensorBoard.

A run that resumes goes on writing where its checkpoint left off: what was logged after that step
is cut away first, so a curve has each step once, whatever happened to the run.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
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
      UserError: the folder cannot be written, now or later, or the file in it is no metrics file.
    """

    def __init__(
        self, folder: str | Path, *, resume_step: int | None = None, tensorboard: bool = True
    ):
        self._folder = folder = Path(folder)
        path = folder / FILE
        kept = []
        if resume_step is not None and path.exists():
            kept = [entry for entry in read_metrics(folder) if entry["step"] <= resume_step]
        write_file(path, "".join(f"{json.dumps(entry)}\n" for entry in kept))
        self._board = None
        with self._writing():
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the object
            if tensorboard:
                self._board = _Board(folder / "tensorboard", resume_step)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes `values`, names to numbers, under `step`. Call it before that step is saved.

        Scalars of JAX and NumPy become Python numbers. What is not finite is written as null,
        because JSON has no other word for it.
        """
        numbers = {name: _number(value) for name, value in values.items()}
        with self._writing():
            self._file.write(json.dumps({"step": int(step), **numbers}) + "\n")
            self._file.flush()
            if self._board is not None:
                self._board.log(step, numbers)

    def close(self) -> None:
        with self._writing():
            self._file.close()
            if self._board is not None:
                self._board.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        # A full disk that ended the block fails here once more, and has been told.
        with contextlib.suppress(UserError) if kind else contextlib.nullcontext():
            self.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"cannot write the metrics in {self._folder}: {reason}; checkpoints are untouched."
            ) from error


class _Board:
    """TensorBoard's event file, written by the thread that calls.

    `tensorboardX.SummaryWriter` has a thread and a queue: on a full disk the thread ends with a
    traceback, and then the queue fills up and training waits for ever.
    """

    def __init__(self, folder: Path, resume_step: int | None):
        from tensorboardX.event_file_writer import EventsWriter  # here: it is slow to import
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        pb: Any = event_pb2  # its names are made while it is imported
        self._event, self._scalar = pb.Event, scalar
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        if resume_step is not None:  # what was logged after it does not count
            begin = pb.SessionLog(status=pb.SessionLog.START)
            self._writer.write_event(pb.Event(step=resume_step + 1, session_log=begin))

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        now = time.time()
        for name, value in values.items():
            if value is not None:
                summary = self._scalar(name, value)
                self._writer.write_event(self._event(step=step, wall_time=now, summary=summary))

    def close(self) -> None:
        self._writer.close()


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
