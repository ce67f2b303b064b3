"""Zoneout: against NumPy loops, how much is kept, and what follows the state."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells import registry
from tests.cells.harness import assert_close, assert_same_bits, random_like, row, to_numpy
from tests.support import x64

KEY = jax.random.key(0)
RATES = {"c": 0.5, "h": 0.05}


def lstm_arguments(steps=5):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(rx.lstm(4).init, KEY, jax.ShapeDtypeStruct((3,), "float32"))
    return random_like(rng, shapes), rng.normal(size=(steps, 3))


@x64()
@pytest.mark.parametrize("rate", [RATES, rx.LSTMState._make([0.5, 0.05])])
def test_without_a_key_is_the_expectation(rate):
    """A NumPy loop of the paper's evaluation; the output is the h that was zoned out."""
    params, xs = lstm_arguments()
    state, expected = (np.zeros(4), np.zeros(4)), []
    for x in xs:
        (c, h), _ = registry.lstm(params, state, x)
        state = 0.5 * state[0] + 0.5 * c, 0.05 * state[1] + 0.95 * h
        expected.append(state[1])
    got = rx.unroll(rx.zoneout(rx.lstm(4), rate), params, xs)
    assert_close(got, (state, np.stack(expected)))


@x64()
def test_with_a_key_a_unit_is_new_or_as_it_was():
    """Step by step: each unit is one of two numbers, c and h by their own masks, at their rates."""
    cell = rx.zoneout(rx.lstm(4), RATES)
    params, _ = lstm_arguments()
    rng = np.random.default_rng(1)
    n = 4000
    xs, state = rng.normal(size=(n, 3)), rx.LSTMState(*rng.normal(size=(2, n, 4)))
    keys = jax.random.split(KEY, n)
    run = jax.jit(jax.vmap(cell.step, (None, 0, 0, 0)))
    after, ys = to_numpy(run(params, state, xs, keys))
    assert_same_bits(ys, after.h)
    kept = []
    for name in ("c", "h"):
        old, got = getattr(state, name), getattr(after, name)
        new = [registry.lstm(params, row(state, b), xs[b])[0][name == "h"] for b in range(n)]
        kept.append(got == old)
        np.testing.assert_allclose(got, np.where(kept[-1], old, new), rtol=1e-12)
        rate = RATES[name]
        assert abs(kept[-1].mean() - rate) < 5 * (rate * (1 - rate) / got.size) ** 0.5
    together = (kept[0] & kept[1]).mean()
    assert abs(together - 0.5 * 0.05) < 5 * (0.025 / kept[0].size) ** 0.5, "masks of their own"
    assert_same_bits(to_numpy(run(params, state, xs, keys))[0], after)


def test_rate_zero_is_the_cell():
    params, xs = lstm_arguments()
    params = jax.tree.map(jnp.float32, params)
    xs = jnp.float32(xs)
    zoned = rx.unroll(rx.zoneout(rx.lstm(4), 0.0), params, xs, key=KEY)
    assert_same_bits(zoned, rx.unroll(rx.lstm(4), params, xs))


@pytest.mark.parametrize("rate", [np.float64(0.5), {"h": np.float64(0.5)}])
def test_numbers_of_numpy_do_not_widen_the_state(rate):
    params, xs = jax.tree.map(jnp.bfloat16, lstm_arguments())
    expected = rx.unroll(rx.zoneout(rx.lstm(4), jax.tree.map(float, rate)), params, xs)
    assert_same_bits(rx.unroll(rx.zoneout(rx.lstm(4), rate), params, xs), expected)


class Counted(NamedTuple):
    sum: jax.Array
    t: jax.Array


COUNTED = rx.Cell(
    init=lambda key, x: (),
    initial_state=lambda params: Counted(jnp.zeros(3), jnp.zeros((), jnp.int32)),
    step=lambda params, s, x: (Counted(s.sum + x, s.t + 1), 2 * s.sum),
    name="counted(3)",
)


def test_counters_go_on_and_other_outputs_are_the_steps_own():
    state, ys = rx.unroll(rx.zoneout(COUNTED, 0.5), (), jnp.ones((4, 3)))
    assert state.t == 4
    np.testing.assert_allclose(state.sum, 2.0)
    np.testing.assert_allclose(ys[:, 0], [0, 1, 2, 3])


def test_names_reach_any_depth():
    """Rates by name in a stack of cells, 0 for what is not named."""
    cell = rx.zoneout(rx.stack(rx.lstm(4), rx.lstm(4)), {"c": 0.5})
    params = cell.init(KEY, jnp.ones(3))
    state = jax.tree.map(jnp.ones_like, cell.initial_state(params))
    zoned, _ = cell.step(params, state, jnp.ones(3))
    plain, _ = rx.stack(rx.lstm(4), rx.lstm(4)).step(params, state, jnp.ones(3))
    for layer in (0, 1):
        np.testing.assert_allclose(zoned[layer].c, (1 + plain[layer].c) / 2, rtol=1e-6)
        np.testing.assert_array_equal(zoned[layer].h, plain[layer].h)


def test_errors_name_the_argument():
    lstm = rx.lstm(4)
    params = lstm.init(KEY, jnp.ones(3))

    def step(cell, rate, params, x):
        zoned = rx.zoneout(cell, rate)
        return zoned.step(params, zoned.initial_state(params), x)

    for call, error, message in [
        (lambda: rx.zoneout(lstm, 1.0), ValueError, r"zoneout: rate must lie in \[0, 1\), got 1"),
        (lambda: rx.zoneout(lstm, {"h": -1}), ValueError, r"rate must lie in \[0, 1\), got -1"),
        (lambda: rx.zoneout(lstm, "h"), TypeError, "zoneout: rate must be a number .*, got 'h'"),
        (lambda: rx.zoneout(lstm, {}), TypeError, "zoneout: rate must be .*, got {}"),
        (lambda: rx.zoneout(rx.lstm, 0.1), TypeError, "cell: expected an object with functions"),
        (
            lambda: step(lstm, {"H": 0.1}, params, jnp.ones(3)),
            ValueError,
            r"no field of the state has the name \['H'\]; its leaves are state\.c, state\.h",
        ),
        (
            lambda: step(lstm, (0.1, 0.1), params, jnp.ones(3)),
            ValueError,
            r"rate must be a number, rates by the name .* prefix of the state .*, got \(0.1, 0.1\)",
        ),
        (
            lambda: step(COUNTED, {"t": 0.1}, (), jnp.ones(3)),
            TypeError,
            r"state\.t must be floating, got int32",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
