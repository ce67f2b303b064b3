"""The training loop: steps, an epoch's validation, saving, stopping, going on bit for bit.

What is trained is not known here: a step is a function of the state and of a batch, and a
validation is a function of the state that gives one number to go by.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import Interrupted, UserError
from experiments.common.files import claimed
from experiments.common.interrupts import graceful_interrupts
from experiments.common.metrics import MetricsLog
from experiments.common.progress import Progress


@dataclasses.dataclass
class Course:
    """Where a run stands, beside its state: saved with each checkpoint."""

    best: float | None = None
    epochs_since_best: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    """Spent in training so far, over all restarts; validation and saving are part of it."""

    def note(self, metric: float, patience: int, *, higher_is_better: bool) -> None:
        """Counts one more validation, which came to `metric`."""
        sign = 1 if higher_is_better else -1
        if self.best is None or math.isnan(self.best) or sign * metric > sign * self.best:
            self.best, self.epochs_since_best = metric, 0
        else:
            self.epochs_since_best += 1
        self.stopped_early = 0 < patience <= self.epochs_since_best


class Plan(NamedTuple):
    """How long a run is, and when it saves and stops."""

    steps: int
    """Of the whole run."""
    epoch: int
    """Steps an epoch; each ends in a validation and a checkpoint."""
    patience: int = 0
    """Stop after so many epochs without a better metric; 0: never."""
    save_seconds: float = 300.0
    """Also save within an epoch, this often."""
    unit: str = "tokens"
    """What the metric "tokens" counts, for the progress bar."""
    advice: str = ""
    """What to try where training diverges."""


class Validation(NamedTuple):
    """What an epoch came to."""

    metric: float
    values: Mapping[str, float]
    """For the metrics file."""
    tell: Callable[[Course], str]
    """What to print; the course already counts this validation."""


def fit(
    state: Any,
    batches: Iterator[Any],
    step: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]],
    validate: Callable[[Any, int], Validation],
    *,
    plan: Plan,
    folder: Path,
    checkpoints: Checkpoints,
    higher_is_better: bool,
    first: int = 0,
    course: Course | None = None,
    position: Callable[[], Any] = lambda: None,
) -> tuple[Any, Course]:
    """Trains to the end of the plan, or until it stops early; returns the last state.

    Every epoch is validated and saved; Ctrl-C saves after the step that runs.

    Args:
      batches: gives what the steps from `first` + 1 on read.
      step: (state, batch) -> (state, metrics); scalars "loss", "tokens" and "skipped" (steps in a
        row whose gradient was not finite) must be among the metrics, which are all logged.
      validate: (state, number of the epoch) -> what the epoch came to.
      folder: where the metrics go.
      first: the step that was restored; 0 starts anew.
      course: what was saved with it.
      position: gives what `batches` needs to go on, as JSON; saved as "stream".

    Raises:
      UserError: training diverged, nothing can be saved, or another process trains there.
      Interrupted: the user stopped it.
    """
    course = Course() if course is None else course
    begin = saved = time.monotonic()
    earlier_seconds = course.seconds

    def save(number: int, metric: float | None = None) -> None:
        course.seconds = earlier_seconds + time.monotonic() - begin
        data = {"stream": position(), "course": dataclasses.asdict(course)}
        checkpoints.save(number, state, data=data, metric=metric)

    with (
        claimed(folder),
        MetricsLog(folder, resume_step=first or None) as log,
        graceful_interrupts() as stop,
        Progress(plan.steps, initial=first, unit=plan.unit) as progress,
    ):
        for number in range(first + 1, plan.steps + 1):
            state, metrics = step(state, next(batches))
            metrics = {name: value.item() for name, value in metrics.items()}
            if metrics["skipped"] >= 10:
                raise UserError(
                    f"training has diverged: the gradients of the last {metrics['skipped']} steps "
                    f"were not finite; {plan.advice}."
                )
            log.log(number, metrics)
            progress.update(int(metrics["tokens"]), metrics["loss"])
            validated = number % plan.epoch == 0
            if validated:
                with progress.paused():
                    epoch = number // plan.epoch
                    found = validate(state, epoch)
                    course.note(found.metric, plan.patience, higher_is_better=higher_is_better)
                    log.log(number, {"epoch": epoch, **found.values})
                    progress.say(found.tell(course))
                    save(number, found.metric)
                    saved = time.monotonic()
                if course.stopped_early:
                    progress.say(f"nothing better for {course.epochs_since_best} epochs: done")
                    break
            stopping = stop.requested  # asked once: what comes from here on waits for the next step
            if not validated and (stopping or time.monotonic() - saved > plan.save_seconds):
                save(number)
                saved = time.monotonic()
            if stopping and number < plan.steps:
                raise Interrupted(
                    f"stopped after step {number} of {plan.steps}, which is saved; the same "
                    f"command goes on from there."
                )
    return state, course
