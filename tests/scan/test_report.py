"""The report says what `scan` does."""

import jax
import jax.numpy as jnp
import pytest

from recurrax.scan import scan_report
from tests.scan import steps


@pytest.mark.parametrize("name", list(steps.cases()))
def test_counts(name):
    step, params, state = steps.make(name)
    *_, forward, backward = steps.cases()[name]
    (xs,) = steps.draw((steps.T, steps.D), seed=2)
    found = scan_report(lambda s, x: step(params, s, x), state, xs)
    assert found.forward.left == forward
    assert found.backward is not None
    assert found.backward.left == backward
    assert found.backward.written > found.forward.written
    assert f"{forward} in the loop" in str(found)


def test_the_projection_leaves_at_the_end():
    step, params, state = steps.make("naive")
    (xs,) = steps.draw((steps.T, steps.D), seed=2)
    report = scan_report(lambda s, x: step(params, s, x), state, xs)
    assert "dot_general" in report.before
    assert "dot_general" in report.after


def test_says_why_work_stays():
    def with_branch(h, x):
        return h + jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), None

    report = scan_report(with_branch, jnp.zeros(2), jnp.ones((3, 2)))
    assert report.pinned == ("cond",)
    assert "step by step" in str(report)

    def with_effect(h, x):
        jax.debug.callback(lambda v: None, x)
        return h, x

    report = scan_report(with_effect, jnp.zeros(2), jnp.ones((3, 2)))
    assert "side effects" in report.note
