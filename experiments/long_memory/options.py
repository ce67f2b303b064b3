"""What can be asked on the command line; free of JAX, so that `--help` is quick."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from experiments.common.settings import check_settings

TASKS = ("adding", "copy", "digits", "permuted")
CELLS = ("elman", "irnn", "gru", "lstm", "lru")
METHODS = ("bptt", "truncated", "eprop", "uoro", "snap", "rtrl")
BLOCK = 50
"""Updates between two tests."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains each cell with each gradient on each task and length.

    Raises:
      ValueError: a setting out of its range; it is named.
    """

    tasks: tuple[str, ...] = TASKS
    """Some of adding copy digits permuted."""
    lengths: tuple[int, ...] = (30,)
    """How long adding and copy have to remember; digits are as long as they have pixels."""
    cells: tuple[str, ...] = ("elman", "gru", "lstm", "lru")
    """Some of elman irnn gru lstm lru."""
    methods: tuple[str, ...] = ("bptt", "truncated")
    """Some of bptt truncated eprop uoro snap rtrl."""
    look_back: int = 10
    """Of truncated: steps that a gradient goes back."""
    features: int = 32
    """Of every cell."""
    updates: int = 500
    """At most; a contestant that has solved its task is not trained on. More than 50 come in
    multiples of it."""
    batch: int = 32
    learning_rate: float = 1e-2
    seeds: int = 2
    """Each is a network of its own; they are trained side by side, and the mean is shown."""
    mnist: Path | None = None
    """A folder with MNIST's four files (train-images-idx3-ubyte and so on, plain or .gz): digits
    of 784 pixels instead of scikit-learn's of 64."""
    output: Annotated[Path, tyro.conf.arg(name="folder")] = Path("runs/long_memory")
    """Tables (.md), pictures (.png) and results.json; what is found there is not done again."""

    def __post_init__(self) -> None:
        for name, there in (("tasks", TASKS), ("cells", CELLS), ("methods", METHODS)):
            chosen = getattr(self, name)
            if not chosen:
                raise ValueError(f"{name} must be some of {', '.join(there)}; got none")
            if unknown := [one for one in chosen if one not in there]:
                raise ValueError(f"there is no {unknown[0]!r}; there are {', '.join(there)}")
        check_settings(
            self,
            {
                "a whole number from 1": "look_back features updates batch seeds",
                "above 0 and finite": "learning_rate",
            },
        )
        if not self.lengths or min(self.lengths) < 2:
            raise ValueError(f"lengths must be whole numbers from 2; got {self.lengths}")
        if self.updates > BLOCK and self.updates % BLOCK:
            raise ValueError(
                f"updates must be up to {BLOCK} or a multiple of it, for every {BLOCK} are tested; "
                f"got {self.updates}"
            )

    def contests(self) -> list[tuple[str, int | None]]:
        """(task, length), in the order of the tables; of digits the length is None."""
        return [
            (task, length)
            for task in self.tasks
            for length in (self.lengths if task in ("adding", "copy") else (None,))
        ]
