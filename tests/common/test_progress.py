"""Progress is told on stderr with rates that leave evaluation out; signals wait for the step."""

import io
import os
import signal
import threading

import pytest

from experiments.common.interrupts import graceful_interrupts
from experiments.common.progress import Progress


class _Clock:
    now = 0.0

    def __call__(self):
        return self.now


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class _Unread:
    """A loss that must not be read."""

    def __float__(self):
        raise AssertionError("read although it is not shown")


def test_log_gets_few_lines():
    file = io.StringIO()
    clock = _Clock()
    with Progress(100, initial=20, line_seconds=10, file=file, clock=clock) as progress:
        for step in range(21, 101):
            clock.now += 0.5
            progress.update(tokens=600, loss=1 / step if step % 20 == 0 else _Unread())
    assert file.getvalue().splitlines() == [
        "step 40/100 (40%) loss 0.0250, 1,200 tokens/s, 0:30 left",
        "step 60/100 (60%) loss 0.0167, 1,200 tokens/s, 0:20 left",
        "step 80/100 (80%) loss 0.0125, 1,200 tokens/s, 0:10 left",
        "step 100/100 (100%) loss 0.0100, 1,200 tokens/s, 0:00 left",
    ]


def test_evaluation_is_left_out_of_the_rates():
    file, clock = io.StringIO(), _Clock()
    with Progress(10, line_seconds=4, file=file, clock=clock) as progress:
        for _ in range(10):
            clock.now += 2
            progress.update(tokens=100)
            with progress.paused():
                clock.now += 3600
        progress.say("val BLEU 30.1")
    lines = file.getvalue().splitlines()
    assert lines[-1] == "val BLEU 30.1"
    assert all(" 50 tokens/s" in line for line in lines[:-1])
    assert lines[0].endswith("0:16 left")


def test_terminal_gets_a_bar_and_nothing_goes_to_stdout(capsys):
    file, clock = _Terminal(), _Clock()
    with Progress(4000, file=file, clock=clock) as progress:
        for _ in range(3000):
            clock.now += 1.8
            progress.update(tokens=10, loss=2.5)
        progress.say("a line of its own")
    said = file.getvalue()
    assert "\r" in said
    assert "a line of its own" in said
    assert "3000/4000, loss 2.5000, 6 tokens/s, 30:00 left" in said
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_waits_second_acts(number, capsys):
    before = signal.getsignal(number)
    caught = []
    signal.signal(number, lambda *_: caught.append(number))
    try:
        with graceful_interrupts() as stop:
            assert not stop.requested
            os.kill(os.getpid(), number)
            assert stop.requested
            assert not caught
            os.kill(os.getpid(), number)
            assert caught == [number]
        assert "finishing this step and saving" in capsys.readouterr().err
        with graceful_interrupts():
            pass
        os.kill(os.getpid(), number)
        assert caught == [number, number]
    finally:
        signal.signal(number, before)


def test_other_threads_get_no_signals():
    seen = []

    def work():
        with graceful_interrupts() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
