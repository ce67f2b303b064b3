"""Learning rates over a run."""

from __future__ import annotations

from typing import Literal

import optax

Kind = Literal["constant", "cosine", "linear"]


def make_schedule(kind: Kind, peak: float, warmup_steps: int, steps: int) -> optax.Schedule:
    """The learning rate of each of `steps` updates: up to the peak, then as `kind` says.

    The warm-up is linear and takes at most a tenth of the run; then the rate stays, or falls to a
    hundredth of the peak at the last update.
    """
    warmup = min(warmup_steps, max(steps // 10, 1))
    rest = max(steps - warmup, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, rest, alpha=0.01),
        "linear": optax.linear_schedule(peak, peak / 100, rest),
    }[kind]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])
