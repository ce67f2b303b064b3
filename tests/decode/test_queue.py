"""A queue against each example alone, and against a simulation of its slots."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.support import x64

BOS, EOS = 0, 1


def countdown(source) -> Any:
    """As many steps as its source says; the result tells the source and the steps it had."""

    def advance(steps):
        jax.debug.callback(lambda: ADVANCED.append(1))
        return steps + 1

    return SimpleNamespace(
        start=jnp.int32(0),
        running=lambda steps: steps < source["steps"],
        advance=advance,
        finish=lambda steps: {"name": source["name"], "steps": steps},
    )


ADVANCED: list[int] = []


def steps_of(durations, slots):
    """Each example goes to the slot that is free first."""
    free = [0] * min(slots, len(durations))
    for duration in durations:
        slot = free.index(min(free))
        free[slot] += int(duration)
    return max(free)


@pytest.mark.parametrize("slots", [1, 2, 5, 12, 40])
@pytest.mark.parametrize("high", [1, 4, 20])
def test_no_slot_waits(slots, high):
    """The loop takes the steps of a list schedule, and no example one more or less than its own."""
    rng = np.random.default_rng(high)
    sources = {"name": rng.permutation(12), "steps": rng.integers(0, high, 12)}
    ADVANCED.clear()
    results = jax.jit(lambda s: rx.refilled(countdown, s, slots=slots))(sources)
    jax.effects_barrier()
    np.testing.assert_array_equal(results["name"], sources["name"])
    np.testing.assert_array_equal(results["steps"], sources["steps"])
    assert len(ADVANCED) == steps_of(sources["steps"], slots)


def make(source):
    model, options = source
    step = functools.partial(slow.jax_step, model)
    return rx.beam_loop(
        step, model.state, bos=BOS, eos=EOS, beam_size=3, max_length=8, n_best=2, **options
    )


def alone(source):
    loop = make(source)
    return loop.finish(jax.lax.while_loop(loop.running, loop.advance, loop.start))


@pytest.mark.parametrize("slots", [1, 7])
def test_a_queue_of_beam_searches_is_each_search_alone(slots):
    """And does not depend, bit for bit, on what else is in the queue and where."""
    count = 60
    rng = np.random.default_rng(0)
    options = {
        "length_penalty": rng.choice([-0.5, 0.0, 0.8], count),
        "min_length": rng.integers(0, 4, count),
        "length_limit": rng.integers(0, 9, count),
    }
    sources = (slow.random_models(1, count, 6, sharpness=3.0), options)
    with x64():
        whole = jax.jit(jax.vmap(alone))(sources)
        run = jax.jit(lambda sources: rx.refilled(make, sources, slots=slots))
        queue = run(sources)
        other = run(jax.tree.map(lambda leaf: leaf[::-1], sources))
    assert len(np.unique(whole.steps)) > 4
    for a, b, c in zip(*map(jax.tree.leaves, (queue, whole, other)), strict=True):
        np.testing.assert_array_equal(a, c[::-1])
        if jnp.issubdtype(b.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"slots": 0}, ValueError, "slots must be at least 1"),
        ({"sources": ()}, ValueError, "sources must be arrays with one leading axis"),
        ({"sources": jnp.zeros(())}, ValueError, "sources must be arrays with one leading axis"),
        ({"sources": (jnp.ones(2), jnp.ones(3))}, ValueError, r"\[\(2,\), \(3,\)\]"),
        ({"make": 3}, TypeError, "make must be a function"),
    ],
)
def test_errors(arguments, error, message):
    arguments = {"make": countdown, "sources": jnp.ones(3), "slots": 2, **arguments}
    with pytest.raises(error, match=f"refilled: .*{message}"):
        rx.refilled(arguments["make"], arguments["sources"], slots=arguments["slots"])
