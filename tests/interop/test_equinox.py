"""equinox, live: the weights of its cells, both ways."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import recurrax as rx
from recurrax.interop import equinox
from tests.interop.agreement import (
    D,
    assert_close,
    assert_same_networks,
    inputs,
    normal,
    ours,
    per_example,
)
from tests.support import x64


def make(kind, inputs, features, **options):
    with x64():
        module = kind(inputs, features, dtype=jnp.float64, key=jax.random.key(0), **options)
        return jax.tree.map(jnp.asarray, normal(module, seed=features))


def run(module, xs):
    """One sequence; the LSTM's state in our order, (c, h)."""
    zeros = jnp.zeros(module.hidden_size)
    is_lstm = isinstance(module, eqx.nn.LSTMCell)

    def step(state, x):
        state = module(x, state)
        return state, state[0] if is_lstm else state

    state, ys = jax.lax.scan(step, (zeros, zeros) if is_lstm else zeros, xs)
    return state[::-1] if is_lstm else state, ys


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", [eqx.nn.LSTMCell, eqx.nn.GRUCell])
def test_a_cell_read_is_the_cell(kind, use_bias):
    module = make(kind, D, 4, use_bias=use_bias)

    def read(module, xs):
        return ours(*equinox.from_params(module), xs)

    assert_same_networks(module, inputs(), per_example(run), read)
    with x64():
        _, params = equinox.from_params(module)
        fresh = kind(D, 4, use_bias=use_bias, dtype=jnp.float64, key=jax.random.key(1))
        written = equinox.to_params(fresh, params)
        assert_close(written, module)
        assert not jnp.array_equal(fresh.weight_hh, written.weight_hh)


@pytest.mark.slow
def test_three_layers_of_both_directions():
    lstm, gru = eqx.nn.LSTMCell, eqx.nn.GRUCell
    modules = [
        (make(lstm, D, 4), make(gru, D, 2)),
        (make(gru, 6, 3), make(gru, 6, 4)),
        (make(lstm, 7, 3), make(lstm, 7, 2)),
    ]

    def peer(modules, xs):
        states = []
        for forward, backward in modules:
            state_f, ys_f = per_example(run)(forward, xs)
            state_b, ys_b = per_example(run, reverse=True)(backward, xs)
            states.append((state_f, state_b))
            xs = jnp.concatenate([ys_f, ys_b], axis=-1)
        return states, xs

    def read(modules, xs):
        layers, params = [], []
        for forward, backward in modules:
            cell_f, params_f = equinox.from_params(forward)
            cell_b, params_b = equinox.from_params(backward)
            layers.append(rx.bidirectional(cell_f, cell_b))
            params.append(rx.Bidirectional(params_f, params_b))
        return ours(rx.serial(*layers), tuple(params), xs)

    assert_same_networks(modules, inputs(), peer, read)


def test_what_cannot_be_read_or_written_says_so():
    key = jax.random.key(0)
    module = eqx.nn.GRUCell(D, 4, use_bias=False, key=key)
    params = rx.gru(4).init(key, jnp.ones(D))
    with pytest.raises(TypeError, match="got Linear"):
        equinox.from_params(eqx.nn.Linear(3, 4, key=key))
    for field in ("b", "b_hn"):
        biased = params._replace(**{field: getattr(params, field) + 1})
        with pytest.raises(ValueError, match=rf"no place for params\.{field}, which is not zero"):
            equinox.to_params(module, biased)
    with pytest.raises(TypeError, match="must be the LSTMParams"):
        equinox.to_params(eqx.nn.LSTMCell(D, 4, key=key), params)
    with pytest.raises(ValueError, match="must have 2 rows, got 3"):
        equinox.to_params(eqx.nn.GRUCell(2, 4, key=key), params)
