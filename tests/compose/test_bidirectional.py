"""Directions of any layer: `reverse`, and `bidirectional` of models. Of cells: test_models."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close, assert_same_bits, to_numpy
from tests.support import x64

T, D = 5, 2
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(T, D))
RESETS = np.array([True, False, True, True, False])


@x64()
@pytest.mark.parametrize("length", [None, 0, 1, 3, T])
@pytest.mark.parametrize("resets", [None, RESETS])
def test_a_model_turned_round_is_the_cell_in_reverse(length, resets):
    """Every length, packed or not, a state handed in; padding that is no number."""
    cell = rx.gru(3)
    params, state = cell.init(KEY, XS[0]), np.ones(3)
    xs = XS if length is None else np.where(np.arange(T)[:, None] < length, XS, np.nan)

    @jax.jit
    def run(params, xs):
        arguments = {"state": state, "length": length, "resets": resets}
        return (
            rx.unroll(cell, params, xs, reverse=True, **arguments),
            rx.reverse(cell).apply(params, xs, **arguments),
            rx.reverse(rx.as_model(cell)).apply(params, xs, **arguments),
        )

    expected, of_cell, of_model = run(params, xs)
    assert_same_bits(of_cell, expected)
    assert_close(of_model, expected)


def test_no_steps():
    for layer in (rx.gru(3), rx.as_model(rx.gru(3))):
        params = rx.gru(3).init(KEY, jnp.ones(D))
        resets = jnp.zeros(0, bool)
        state, ys = rx.reverse(layer).apply(params, jnp.ones((0, D)), resets=resets)
        assert ys.shape == (0, 3)
        assert not state.any()


@x64()
def test_bidirectional_of_models_is_two_deep_runs():
    """Two layers each way (ELMo's form): the backward ones by flips, each example alone."""
    forward, backward = (rx.serial(rx.gru(3), rx.residual(rx.gru(3))) for _ in range(2))
    model = rx.bidirectional(forward, backward, merge="sum")
    params = model.init(KEY, XS)
    state, ys = jax.jit(model.apply)(params, XS, length=3)
    state_f, ys_f = forward.apply(params.forward, XS[:3])
    state_b, ys_b = backward.apply(params.backward, XS[:3][::-1])
    assert_close((state, ys[:3]), (rx.Bidirectional(state_f, state_b), ys_f + ys_b[::-1]))
    assert not ys[3:].any()


@x64()
def test_last_states_of_both_ends():
    ends = [rx.serial(rx.gru(3), rx.pool("last")) for _ in range(2)]
    model = rx.serial(rx.bidirectional(*ends), rx.one_step(rx.dense(2)))
    params = model.init(KEY, XS)
    _, y = jax.jit(model.apply)(params, XS, length=3)
    h_f, _ = rx.unroll(rx.gru(3), params[0].forward[0], XS[:3])
    h_b, _ = rx.unroll(rx.gru(3), params[0].backward[0], XS[:3], reverse=True)
    expected = np.concatenate(to_numpy([h_f, h_b])) @ params[1].w + params[1].b
    assert_close(y, expected)


def test_outputs_that_are_trees_are_merged_leaf_by_leaf():
    both = rx.Cell(lambda key, x: (), lambda p: (), lambda p, s, x: (s, {"a": x, "b": (x[:1],)}))
    xs = jnp.float32(XS)
    _, ys = rx.bidirectional(both, both).apply(rx.Bidirectional((), ()), xs)
    np.testing.assert_array_equal(ys["a"], jnp.concatenate([xs, xs], axis=1))
    assert ys["b"][0].shape == (T, 2)


def test_a_traced_length_counts_as_the_nearest_that_there_is():
    """One that is known is an error; of a cell and of a model turned round alike."""
    xs, lengths = jnp.float32(XS), jnp.array([T + 2, T, -1, 0], jnp.int8)
    params = rx.gru(3).init(KEY, xs[0])
    for layer in (rx.gru(3), rx.as_model(rx.gru(3))):
        run = jax.vmap(lambda n, layer=layer: rx.reverse(layer).apply(params, xs, length=n))
        state, ys = to_numpy(jax.jit(run)(lengths))
        np.testing.assert_array_equal(ys[[0, 2]], ys[[1, 3]])
        np.testing.assert_array_equal(state[[0, 2]], state[[1, 3]])
        assert ys[0].all()
        assert not ys[2].any()


def test_inputs_of_numpy_in_a_compiled_function():
    """Data that a compiled function closes over stay NumPy's, while the order is traced."""
    model, xs = rx.reverse(rx.as_model(rx.gru(3))), XS.astype(np.float32)
    params = model.init(KEY, xs)
    ys = jax.jit(lambda params, n: model.apply(params, xs, length=n)[1])(params, 3)
    assert_close(ys, rx.unroll(rx.gru(3), params, xs, reverse=True, length=3)[1], 1e-6)


def test_errors_name_the_argument():
    grid = rx.Cell(lambda key, x: (), lambda p: (), lambda p, s, x: (s, jnp.ones((3, 2))))
    drive = rx.autoregressive(rx.gru(D), 3)
    number = rx.Cell(lambda key, x: (), lambda p: (), lambda p, s, x: (s, x.sum()), name="number")
    pooled = rx.serial(rx.gru(3), rx.pool("last"))
    params = rx.gru(3).init(KEY, jnp.ones(D))
    xs = jnp.float32(XS)
    for call, error, message in [
        (
            lambda: rx.bidirectional(number, number).apply(rx.Bidirectional((), ()), xs),
            ValueError,
            "merge='concat' needs outputs with an axis of their own, got numbers",
        ),
        (
            lambda: rx.bidirectional(pooled, rx.gru(3)),
            ValueError,
            "both directions must keep the time axis, or neither",
        ),
        (
            lambda: rx.bidirectional(rx.dense(2), grid).apply(
                rx.Bidirectional(rx.dense(2).init(KEY, xs[0]), ()), xs
            ),
            ValueError,
            r"shape of the backward output but for the last axis, got \(5, 2\) and \(5, 3, 2\)",
        ),
        (
            lambda: rx.reverse(rx.one_step(rx.gru(3))),
            ValueError,
            r"reverse: layer must have .* a time axis, got one_step\(gru\(3\)\)",
        ),
        (
            lambda: rx.bidirectional(drive, rx.serial(rx.dropout(0.5), drive)),
            ValueError,
            r"layer must have .*, got serial\(dropout\(0.5\), autoregressive\(gru\(2\), 3\)\)",
        ),
        (lambda: rx.reverse(3), TypeError, "cell: expected an object with"),
        (
            lambda: rx.reverse(rx.as_model(rx.gru(3))).apply(params, xs, resets=RESETS[:2]),
            ValueError,
            r"resets: expected shape \[T=5\], got \(2,\)",
        ),
        (
            lambda: rx.reverse(rx.as_model(rx.gru(3))).apply(params, xs, resets=[True] * T),
            TypeError,
            "resets: expected an array of booleans",
        ),
        (
            lambda: rx.reverse(rx.as_model(rx.gru(3))).apply(params, xs, length=9),
            ValueError,
            "length: .* from 0 to 5, got 9",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
