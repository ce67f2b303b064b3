"""What can be asked on the command line; free of JAX, so that `--help` is quick."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError


@dataclasses.dataclass
class Options:
    """What arrives at the other end of a sequence."""

    steps: int = 200
    """T, from one end to the other; the chrono biases are made for it."""
    features: int = 64
    """H, the width of the networks."""
    networks: int = 50
    """How many of each kind; what is shown are medians over them, of saturated gates the mean."""
    bound: float = 1.0
    """The norm to which the gradient of the state is clipped at each step, for comparison."""
    seed: int = 0
    quick: bool = False
    """20 steps of three networks of 8 units each: whether it runs. The numbers mean nothing."""
    output: Path = Path("runs/gradient_flow")
    """The folder for gradient_flow.md, .json and .png."""

    def settings(self) -> dict[str, Any]:
        """What the numbers depend on, besides the kind of network."""
        fields = dataclasses.asdict(self)
        return {name: fields[name] for name in ("features", "steps", "networks", "bound", "seed")}

    def check(self) -> None:
        """Makes `quick` what it stands for.

        Raises:
          UserError: a number that is too small.
        """
        if self.quick:
            self.steps, self.features, self.networks = 20, 8, 3
        for name, least in (("steps", 3), ("features", 1), ("networks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name}: at least {least}, got {getattr(self, name)}.")
        if not 0 < self.bound < math.inf:
            raise UserError(f"--bound: a positive and finite number, got {self.bound}.")
