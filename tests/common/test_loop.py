"""Where a run stands: what is best so far, and when to stop."""

import itertools
import math
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.common import loop
from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import Interrupted, UserError
from experiments.common.files import claimed
from experiments.common.loop import Course, Plan, Validation, fit


def counting_step(state, batch):
    metrics = {"loss": 0.5, "tokens": 1, "skipped": 0}
    return state + batch, {name: np.asarray(value) for name, value in metrics.items()}


def fit_nine(folder, checkpoints):
    return fit(
        np.zeros(()),
        itertools.repeat(1.0),
        counting_step,
        lambda state, epoch: Validation(0.0, {}, lambda course: "an epoch"),
        plan=Plan(steps=9, epoch=3),
        folder=folder,
        checkpoints=checkpoints,
        higher_is_better=True,
    )


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    # A lock belongs to an open file: two of one process exclude each other, too.
    with claimed(tmp_path), pytest.raises(UserError, match="another process is at work in"):
        fit_nine(tmp_path, checkpoints)
    assert not checkpoints.steps()
    state, _ = fit_nine(tmp_path, checkpoints)
    assert state == 9


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_patience_counts_from_the_best(higher_is_better):
    sign = 1 if higher_is_better else -1
    course, seen = Course(), []
    for metric in (math.nan, 1, 3, math.nan, 3, 2, 4, 4):
        course.note(sign * metric, patience=3, higher_is_better=higher_is_better)
        assert course.best is not None
        seen.append((sign * course.best, course.epochs_since_best, course.stopped_early))
    # What is no number is worse than any.
    bests = [(1, 0), (3, 0), (3, 1), (3, 2), (3, 3), (4, 0), (4, 1)]
    assert seen[1:] == [(best, since, since == 3) for best, since in bests]
    course.note(0, patience=0, higher_is_better=True)
    assert not course.stopped_early


@pytest.fixture
def ignored_sigterm():
    """Else a loop that does not catch it would end the tests."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("when", range(1, 8))
def test_a_signal_at_any_moment_stops_after_a_step_that_is_saved(
    tmp_path, monkeypatch, ignored_sigterm, when
):
    """The loop looks at the clock between its questions whether to stop: there the signal comes."""
    looks = itertools.count()

    def clock():
        if next(looks) == when:
            signal.raise_signal(signal.SIGTERM)
        return time.monotonic()

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=clock))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(Interrupted, match=r"stopped after step (\d) of 9, which is saved") as told:
        fit_nine(tmp_path, checkpoints)
    restored = checkpoints.restore_latest(np.zeros(()))
    assert f"step {restored.step} " in str(told.value)
    assert restored.state == restored.step
