"""Milliseconds of a training step of the character models, measured in turn."""

from __future__ import annotations

from collections.abc import Callable

import jax

from experiments.claims.contest import Entry
from experiments.claims.training import trainer
from experiments.common.timing import Timing, measure


def speeds(entry: Entry, rounds: int) -> dict[str, Timing]:
    """For one seed on one device, its examples and its update included."""
    task, cells, optimizer, schedule = entry
    calls: dict[str, Callable[[], object]] = {}
    for name, cell in cells.items():
        one = trainer(cell, task, optimizer, schedule.batch)
        key = jax.random.key(0)
        params, opt_state = jax.jit(one.init)(key)
        step = jax.jit(one.step).lower(params, opt_state, key).compile()

        def call(step=step, arguments=(params, opt_state, key)):
            return jax.block_until_ready(step(*arguments))

        calls[name] = call
    return measure(calls, repeats=rounds)
