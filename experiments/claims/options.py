"""What can be asked on the command line; free of JAX, so that `--help` is quick."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UserError

CLAIMS = ("clipping", "adding", "counting", "timing", "characters", "speed")


class Schedule(NamedTuple):
    """How long to train: `steps` updates on `batch` examples each, from `seeds` seeds."""

    steps: int
    batch: int
    seeds: int


class Size(NamedTuple):
    """How large the experiment is."""

    echo_steps: int = 100
    echo_features: int = 64
    clipping: Schedule = Schedule(300, 16, 4)
    adding_steps: int = 50
    adding: Schedule = Schedule(1000, 32, 4)
    counting_longest: int = 10
    counting_test: int = 60
    counting: Schedule = Schedule(1000, 16, 4)
    timing_shortest: int = 10
    timing_intervals: int = 20
    timing: Schedule = Schedule(1500, 32, 4)
    window: int = 64
    sentences: int = 4000
    text_features: int = 128
    text: Schedule = Schedule(300, 32, 4)
    rounds: int = 15


FULL = Size()
QUICK = Size(
    echo_steps=12,
    echo_features=8,
    clipping=Schedule(3, 2, 2),
    adding_steps=6,
    adding=Schedule(3, 2, 2),
    counting_longest=3,
    counting_test=4,
    counting=Schedule(3, 2, 2),
    timing_shortest=2,
    timing_intervals=3,
    timing=Schedule(3, 2, 2),
    window=8,
    sentences=20,
    text_features=8,
    text=Schedule(3, 2, 2),
    rounds=3,
)
"""Every line of the program in a minute; the numbers mean nothing."""


@dataclasses.dataclass
class Options:
    """The claims of the texts, measured."""

    claims: tuple[str, ...] = ()
    """Some of clipping adding counting timing characters speed; all by default."""
    quick: bool = False
    """Everything tiny: whether it runs, in about a minute. The numbers mean nothing."""
    output: Path = Path("runs/claims")
    """The folder: for each claim a table (.md), the numbers (.json) and a picture (.png)."""

    def chosen(self) -> tuple[str, ...]:
        """The claims, in the order of `CLAIMS`.

        Raises:
          UserError: one is unknown.
        """
        if unknown := sorted(set(self.claims) - set(CLAIMS)):
            raise UserError(f"--claims: there is no {unknown[0]!r}; there are {', '.join(CLAIMS)}.")
        return tuple(claim for claim in CLAIMS if claim in (self.claims or CLAIMS))
