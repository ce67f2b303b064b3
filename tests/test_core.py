"""The vocabulary: what is accepted as a cell, how it reads, and the checks that all share."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.core import as_cell, check_length, check_same_state


class Accumulate:
    """Duck-typed: three functions, no base class, no key."""

    def init(self, key, x):
        return jnp.ones(())

    def initial_state(self, params):
        return jnp.zeros(2)

    def step(self, params, state, x):
        return params * state + x, state


def make(step, initial=lambda params: jnp.zeros(2)):
    return rx.Cell(lambda key, x: jnp.ones(()), initial, step, name="mine")


def test_duck_typed_three_argument_cell_is_welcome():
    xs = jnp.arange(6.0).reshape(3, 2)
    state, ys = rx.unroll(Accumulate(), jnp.ones(()), xs, key=jax.random.key(0))
    np.testing.assert_array_equal(state, xs.sum(0))
    np.testing.assert_array_equal(ys, np.cumsum(xs, 0) - xs)
    assert repr(as_cell(Accumulate())) == "Accumulate"


def test_a_key_reaches_the_step_however_it_is_taken():
    """As the fourth argument, by name only, or through a partial: never dropped in silence."""

    def positional(params, state, x, key=None):
        return state, jnp.asarray(key is not None)

    def named(params, state, x, *, key=None):
        return positional(params, state, x, key)

    def wrapped(flag, params, state, x, key=None):
        return positional(params, state, x, key)

    xs = jnp.zeros((2, 2))
    for step in (positional, named, functools.partial(wrapped, True)):
        for key in (None, jax.random.key(0)):
            _, ys = rx.unroll(make(step), 0.0, xs, key=key)
            assert ys.all() == (key is not None)


def test_a_fourth_argument_of_another_kind_is_no_key():
    """Python's way to bind a value now, and options: neither a key nor None may land there."""

    def option_and_key(params, state, x, scale=2.0, key=None):
        return state, scale * x + (0 if key is None else 100)

    def any_and_key(*arguments, key=None):
        return option_and_key(*arguments, key=key)

    twos = np.full(2, 2.0)  # of which `== None` is an array
    bound = lambda params, state, x, scale=twos: (state, scale * x)  # noqa: E731
    xs = jnp.ones((2, 2))
    for key, expected in ((None, 2), (jax.random.key(0), 102)):
        for step in (option_and_key, any_and_key):
            np.testing.assert_array_equal(rx.unroll(make(step), 0.0, xs, key=key)[1], expected)
        np.testing.assert_array_equal(rx.unroll(make(bound), 0.0, xs, key=key)[1], 2)
    with pytest.raises(TypeError, match=r"mine: step must take .*got \(params, state, x, scale, k"):
        as_cell(make(lambda params, state, x, scale, key=None: (state, x)))


def test_what_is_no_cell():
    for bad, message in [
        (3, r"cell: expected an object with functions init.*, got 3, whose 'init' is 'missing'"),
        (rx.serial(rx.lstm(2)), "whose 'initial_state' is 'missing'.*run by its apply"),
        (rx.lstm, r"whose 'init' is 'missing'\. A factory is called first, as rx\.lstm\(128\)"),
        ([rx.lstm(2)] * 2, r"got \[lstm\(2\), lstm\(2\)\].*: serial\(\*layers\)"),
        (make(None), "whose 'step' is None"),
        (
            make(lambda params, x: x),
            r"mine: step must take \(params, state, x\).*got \(params, x\)",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            as_cell(bad)
        with pytest.raises(TypeError, match=message):
            rx.unroll(bad, 0.0, jnp.zeros((2, 2)))


def test_a_cell_of_ours_stays_the_same_object():
    cell = rx.lstm(3)
    assert as_cell(cell) is cell


def test_the_step_is_a_scan_body():
    cell = rx.gru(3)
    xs = jnp.linspace(-1, 1, 8).reshape(4, 2)
    params = cell.init(jax.random.key(0), xs[0])
    body = functools.partial(cell.step, params)
    _, ys = jax.lax.scan(body, cell.initial_state(params), xs)
    np.testing.assert_allclose(ys, rx.unroll(cell, params, xs)[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (rx.lstm(8), "lstm(8)"),
        (rx.gru(8, reset_after=False), "gru(8, reset_after=False)"),
        (rx.stack(rx.lstm(8), rx.dense(2)), "stack(lstm(8), dense(2))"),
        (
            rx.serial(
                rx.bidirectional(rx.gru(4), rx.elman(4), merge="sum"),
                rx.residual(rx.lstm(4)),
                rx.dropout(0.5, variational=True),
            ),
            "serial(bidirectional(gru(4), elman(4), merge='sum'), residual(lstm(4)), "
            "dropout(0.5, variational=True))",
        ),
        (rx.scaled_dot(), "scaled_dot()"),
    ],
)
def test_repr(model, expected):
    assert repr(model) == str(model) == expected


def test_what_a_step_returns_is_checked():
    xs = jnp.zeros((3, 2))
    for step, error, message in [
        (lambda p, s, x: s, TypeError, r"mine: step must return \(state, y\)"),
        (lambda p, s, x: (s, x, x), TypeError, r"mine: step must return \(state, y\)"),
        (lambda p, s, x: ((s, s), x), TypeError, "mine: step must return a state of the structure"),
        (lambda p, s, x: (s[:1], x), ValueError, r"shape of state from \(2,\) to \(1,\)"),
        (lambda p, s, x: (s > 0, x), TypeError, "dtype of state from float32 to bool"),
    ]:
        with pytest.raises(error, match=message):
            rx.unroll(make(step), 0.0, xs)


def test_drift_names_the_leaf():
    before = {"a": jnp.zeros(2), "b": (jnp.zeros(3), jnp.zeros(1))}
    after = {"a": jnp.zeros(2), "b": (jnp.zeros(3), jnp.zeros(2))}
    check_same_state("x", before, before)
    with pytest.raises(ValueError, match=r"x: step changed the shape of state\['b'\]\[1\] from"):
        check_same_state("x", before, after)


def test_features_are_a_positive_int():
    for factory in (rx.elman, rx.lstm, rx.gru, rx.dense):
        for bad in (2.0, "8", None, True, jnp.ones(())):
            with pytest.raises(TypeError, match="features must be an int, got "):
                factory(bad)  # pyright: ignore[reportArgumentType]
        for bad in (0, -3):
            with pytest.raises(ValueError, match=f"features must be at least 1, got {bad}"):
                factory(bad)


def test_functions_are_functions():
    """The name of an activation, as other frameworks take it, is told from a function."""
    for call, argument in [
        (lambda: rx.elman(2, activation="tanh"), "activation"),  # pyright: ignore
        (lambda: rx.dense(2, activation="tanh"), "activation"),  # pyright: ignore
        (lambda: rx.elman(2, w_x_init="tanh"), "w_x_init"),  # pyright: ignore
        (lambda: rx.lstm(2, w_h_init="tanh"), "w_h_init"),  # pyright: ignore
        (lambda: rx.gru(2, w_x_init="tanh"), "w_x_init"),  # pyright: ignore
        (lambda: rx.dense(2, w_init="tanh"), "w_init"),  # pyright: ignore
    ]:
        with pytest.raises(TypeError, match=f"{argument} must be a function, got 'tanh'"):
            call()


def test_params_of_another_width_or_form():
    xs = jnp.ones((3, 2))
    for made, used, message in [
        (rx.lstm(3), rx.lstm(4), r"lstm\(4\): params\.b must have shape \(16,\), got \(12,\)"),
        (rx.elman(3), rx.elman(4), r"params\.b must have shape \(4,\), got \(3,\)"),
        (rx.dense(3), rx.dense(4), r"params\.b must have shape \(4,\), got \(3,\)"),
        (rx.gru(3), rx.gru(3, reset_after=False), r"params\.b_hn must be None, got .*other form"),
        (rx.gru(3, reset_after=False), rx.gru(3), r"params\.b_hn must be an array, got None"),
    ]:
        params = made.init(jax.random.key(0), xs[0])
        with pytest.raises(ValueError, match=message):
            rx.unroll(used, params, xs)


def test_numpy_inputs_mean_what_jax_computes_in():
    """NumPy's float64 gives float32 params where JAX has no float64, without a warning."""
    params = rx.lstm(2).init(jax.random.key(0), np.ones(3))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    _, ys = rx.unroll(rx.lstm(2), params, np.ones((4, 3)), length=jnp.int32(3))
    assert ys.dtype == jnp.float32


@pytest.mark.parametrize(
    ("length", "error", "message"),
    [
        (-1, ValueError, "length: expected a number from 0 to 4, got -1"),
        (5, ValueError, "length: expected a number from 0 to 4, got 5"),
        (2.0, TypeError, r"length: expected an integer, got 2\.0"),
        (np.float32(2), TypeError, "length: expected an integer, got dtype float32"),
        (True, TypeError, "length: expected an integer, got True"),
        ("int32", TypeError, "length: expected an integer, got 'int32'"),
        (np.ones(3, int), ValueError, r"length: expected one number .*shape \(3,\).*jax\.vmap"),
    ],
)
def test_length(length, error, message):
    with pytest.raises(error, match=message):
        check_length(length, 4)
