"""Ctrl-C and SIGTERM without loss: finish the step, save, say how to go on.

with graceful_interrupts() as stop:
    for batch in batches:
        state = step(state, batch)
        if stop.requested:
            checkpoints.save(...)
            raise Interrupted("stopped at step 120, which is saved; go on with: ... --resume")
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked the process to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def graceful_interrupts() -> Iterator[Stop]:
    """Turns the first SIGINT or SIGTERM into `stop.requested`; a second one acts at once.

    Signals act as before once the block is left. Outside the main thread, where Python handles no
    signals, `requested` stays False.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            # None: it was installed by other than Python, and cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        restore()
        name = signal.Signals(number).name
        print(
            f"\n{name}: finishing this step and saving; once more stops at once, unsaved.",
            file=sys.stderr,
            flush=True,
        )

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
