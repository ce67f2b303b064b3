"""How far training is: a bar on a terminal, a quiet line now and then in a log. Only on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from tqdm import tqdm


class Progress:
    """Steps, tokens (or another unit) a second, loss and time left; a context manager.

    The rates are those of the last minute or so, without the time spent in `paused` blocks.

    Args:
      total: number of steps of the whole run.
      initial: steps that were done before, by the run that this one resumes.
      unit: what a step is done on, and counted in.
      line_seconds: least time between two lines where stderr is not a terminal.
      file: where to write; stderr unless given.
      clock: a clock in seconds, for tests.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        unit: str = "tokens",
        line_seconds: float = 20.0,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._file = sys.stderr if file is None else file
        self._total, self._step, self._tokens, self._clock = total, initial, 0, clock
        self._unit = unit
        self._marks = deque([(clock(), initial, 0)], maxlen=64)  # (time, steps, tokens)
        self._bar: Any = None
        self._interval = line_seconds
        self._last_line = clock()
        if self._file.isatty():
            self._interval = 1.0
            layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
            self._bar = tqdm(
                total=total,
                initial=initial,
                file=self._file,
                bar_format=layout,
                dynamic_ncols=True,
                mininterval=0.2,
            )

    def update(self, tokens: int = 0, loss: Any = None, *, steps: int = 1) -> None:
        """Counts `steps` done on `tokens` tokens.

        `loss`, a number or a scalar on a device, is read only when it is shown: JAX need not wait
        for it at every step.
        """
        self._step += steps
        self._tokens += tokens
        now = self._clock()
        if self._bar is not None:
            self._bar.update(steps)
        if now - self._last_line < self._interval and self._step < self._total:
            return
        self._last_line = now
        details = self._details(now, loss)
        self._marks.append((now, self._step, self._tokens))
        if self._bar is not None:
            self._bar.set_postfix_str(details)
        else:
            percent = 100 * self._step / max(self._total, 1)
            line = f"step {self._step}/{self._total} ({percent:.0f}%) {details}"
            print(line, file=self._file, flush=True)

    def say(self, line: str) -> None:
        """Prints a line of its own, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(line, file=self._file)
        else:
            print(line, file=self._file, flush=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time in the block, an evaluation say, out of the rates."""
        start = self._clock()
        try:
            yield
        finally:
            away = self._clock() - start
            moved = [(mark + away, steps, tokens) for mark, steps, tokens in self._marks]
            self._marks = deque(moved, maxlen=self._marks.maxlen)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _details(self, now: float, loss: Any) -> str:
        # Lines of a log are far apart: fewer marks span the same minute.
        begin, steps, tokens = self._marks[-min(len(self._marks), max(1, int(60 / self._interval)))]
        seconds = max(now - begin, 1e-9)
        rate = (self._step - steps) / seconds
        parts = [] if loss is None else [f"loss {float(loss):.4f}"]
        if self._tokens:
            parts.append(f"{(self._tokens - tokens) / seconds:,.0f} {self._unit}/s")
        if rate > 0:
            parts.append(f"{_clock_time((self._total - self._step) / rate)} left")
        return ", ".join(parts)


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
