"""An initial state among the params: where it starts, what it starts, what its gradient is."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close, assert_same_bits, random_like, to_numpy
from tests.support import x64

KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(5, 3))


def test_starts_as_the_cell():
    cell, learned = rx.lstm(4), rx.learned_state(rx.lstm(4))
    params = learned.init(KEY, jnp.ones(3))
    assert_same_bits(params.cell, cell.init(KEY, jnp.ones(3)))
    xs = jnp.float32(XS)
    assert_same_bits(rx.unroll(learned, params, xs), rx.unroll(cell, params.cell, xs))


@x64()
@pytest.mark.parametrize("state", [None, rx.LSTMState._make(np.ones((2, 4)))])
def test_every_sequence_starts_from_it(state):
    """The first one too, unless a state is handed in; its gradient is the sum over the starts."""
    cell, learned = rx.lstm(4), rx.learned_state(rx.lstm(4))
    params = random_like(np.random.default_rng(1), learned.init(KEY, XS[0]))
    resets = jnp.array([False, False, True, True, False])

    def packed(params):
        return (rx.unroll(learned, params, XS, state=state, resets=resets)[1] ** 2).sum()

    def apart(starts):
        parts = zip((XS[:2], XS[2:3], XS[3:]), starts, strict=True)
        return sum((rx.unroll(cell, params.cell, xs, state=s)[1] ** 2).sum() for xs, s in parts)

    value, gradient = to_numpy(jax.jit(jax.value_and_grad(packed))(params))
    starts = [params.state if state is None else state, params.state, params.state]
    expected, gradients = to_numpy(jax.jit(jax.value_and_grad(apart))(starts))
    assert_close(value, expected)
    learning = gradients if state is None else gradients[1:]
    assert_close(gradient.state, jax.tree.map(lambda *g: sum(g), *learning))


def test_params_can_be_donated():
    """The cell may give c and h the same zeros; one buffer cannot be handed over twice."""
    params = rx.learned_state(rx.lstm(4)).init(KEY, jnp.ones(3))
    update = jax.jit(lambda params: jax.tree.map(lambda leaf: leaf + 1, params), donate_argnums=0)
    np.testing.assert_array_equal(update(params).state.c, 1.0)


def test_a_leaf_that_is_none_is_the_cells_own():
    cell, learned = rx.slstm(4), rx.learned_state(rx.slstm(4))
    params = learned.init(KEY, jnp.ones(3))
    params = params._replace(state=params.state._replace(c=None, n=None, m=None))
    assert_same_bits(learned.initial_state(params), cell.initial_state(params.cell))


class Counted(NamedTuple):
    h: jax.Array
    t: jax.Array


def test_counters_are_not_learned():
    counted = rx.Cell(
        init=lambda key, x: jnp.ones(()),
        initial_state=lambda params: Counted(jnp.zeros(3), jnp.zeros((), jnp.int32)),
        step=lambda params, s, x: (Counted(params * s.h + x, s.t + 1), s.h),
        name="counted(3)",
    )
    cell = rx.learned_state(counted)
    params = cell.init(KEY, jnp.ones(3))
    assert params.state.t is None
    state, _ = rx.unroll(cell, params, jnp.ones((4, 3)))
    assert state.t == 4
    gradient = jax.grad(lambda p: rx.unroll(cell, p, jnp.ones((4, 3)))[0].h.sum())(params)
    np.testing.assert_array_equal(gradient.state.h, 1.0)


def test_errors_name_the_argument():
    cell = rx.learned_state(rx.lstm(4))
    for call, error, message in [
        (lambda: rx.learned_state(rx.lstm), TypeError, "cell: expected an object with functions"),
        (
            lambda: cell.initial_state({}),
            TypeError,
            r"learned_state\(lstm\(4\)\): params must be the LearnedStateParams .*, got dict",
        ),
        (lambda: cell.step((), (), jnp.ones(3)), TypeError, "params must be the LearnedState"),
    ]:
        with pytest.raises(error, match=message):
            call()
