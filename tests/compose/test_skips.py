"""Skips around cells and models: residual of a cell, dense connections. Of a model: test_models."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells import registry
from tests.cells.harness import assert_close, assert_same_bits, random_like
from tests.support import x64

T, D = 4, 2
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(T, D))


def loop(step, params, state, xs):
    ys = []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    return state, np.stack(ys)


@x64()
def test_residual_of_a_cell_is_a_cell():
    """In a stack, step by step, with the params of the same layers over whole sequences."""
    layers = rx.gru(D), rx.residual(rx.elman(D))
    cell, model = rx.stack(*layers), rx.serial(*layers)
    params = random_like(np.random.default_rng(1), cell.init(KEY, XS[0]))
    h1, first = loop(registry.gru_after, params[0], np.zeros(D), XS)
    h2, second = loop(registry.elman(np.tanh), params[1], np.zeros(D), first)
    expected = (h1, h2), first + second
    assert_close(rx.unroll(cell, params, XS), expected)
    assert_close(model.apply(params, XS), expected)
    of_model = rx.serial(layers[0], rx.residual(rx.as_model(rx.elman(D))))
    assert_close(of_model.apply(params, XS), expected)


@x64()
@pytest.mark.parametrize("as_model", [False, True])
def test_every_layer_sees_all_before_it(as_model):
    layers = [rx.elman(3), rx.gru(1)]
    if as_model:
        layers = list(map(rx.as_model, layers))
    dense = rx.as_model(rx.densely_connected(*layers))
    params = random_like(np.random.default_rng(1), dense.init(KEY, XS))
    assert params[1].w_x.shape == (D + 3, 3)
    h1, first = loop(registry.elman(np.tanh), params[0], np.zeros(3), XS)
    first = np.concatenate([XS, first], axis=1)
    h2, second = loop(registry.gru_after, params[1], np.zeros(1), first)
    expected = np.concatenate([first, second], axis=1)
    assert_close(dense.apply(params, XS), ((h1, h2), expected))
    padded = np.where(np.arange(T)[:, None] < 3, XS, np.nan)
    _, ys = dense.apply(params, padded, length=3)
    assert_close(ys[:3], expected[:3])
    assert not ys[3:].any()


def test_a_chain_of_dense_connections_is_one():
    a, b = rx.elman(3), rx.gru(1)
    whole, chain = rx.densely_connected(a, b), rx.stack(*map(rx.densely_connected, (a, b)))
    params = whole.init(KEY, jnp.ones(D))
    xs = jnp.float32(XS)
    _, expected = rx.unroll(whole, params, xs)
    _, ys = rx.unroll(chain, tuple((p,) for p in params), xs)
    assert_same_bits(ys, expected)


def test_cells_stay_cells():
    assert isinstance(rx.residual(rx.gru(2)), rx.Cell)
    assert isinstance(rx.densely_connected(rx.gru(2), rx.gru(2)), rx.Cell)
    assert isinstance(rx.residual(rx.dropout(0.5)), rx.SequenceModel)
    mixed = rx.densely_connected(rx.gru(2), rx.dropout(0.5))
    assert isinstance(mixed, rx.SequenceModel)
    assert repr(mixed) == "densely_connected(gru(2), dropout(0.5))"


def test_errors_name_the_argument():
    elman = rx.elman(3).init(KEY, jnp.ones(D))
    number = rx.Cell(lambda key, x: (), lambda p: (), lambda p, s, x: (s, x.sum()))
    integer = rx.Cell(lambda key, x: (), lambda p: (), lambda p, s, x: (s, jnp.int32(x)))
    for call, error, message in [
        (rx.densely_connected, ValueError, "densely_connected: expected at least one layer"),
        (lambda: rx.densely_connected(3), TypeError, "cell: expected an object with functions"),
        (lambda: rx.residual(3), TypeError, "cell: expected an object with functions"),
        (
            lambda: rx.unroll(rx.residual(rx.elman(3)), elman, jnp.ones((T, D))),
            ValueError,
            r"residual\(elman\(3\)\): the layer's input .* output, got \(2,\) and \(3,\)",
        ),
        (
            lambda: rx.unroll(rx.densely_connected(number), ((),), jnp.ones((T, D))),
            ValueError,
            r"shape of its input but for the last axis, got \(2,\) and \(\)",
        ),
        (
            lambda: rx.unroll(rx.densely_connected(integer), ((),), jnp.ones((T, D))),
            TypeError,
            "a layer's output must be floating, got int32",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
