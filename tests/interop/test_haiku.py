"""dm-haiku, live: the weights of its cores, both ways."""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp
import pytest

import recurrax as rx
from recurrax.interop import haiku
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

GRID = (4, 3)
CORES = {
    "VanillaRNN": lambda: hk.VanillaRNN(4),
    "VanillaRNN_one_bias": lambda: hk.VanillaRNN(4, double_bias=False),
    "LSTM": lambda: hk.LSTM(4),
    "GRU": lambda: hk.GRU(4),
    "Conv2DLSTM": lambda: hk.Conv2DLSTM(GRID, 2, (3, 2)),
}


def transformed(make):
    """`run(params, xs)` of one sequence; the LSTM's state in our order, (c, h)."""

    def unroll(xs):
        core = make()
        ys, state = hk.dynamic_unroll(core, xs, core.initial_state(None))

        def ordered(state):
            return (state.cell, state.hidden) if isinstance(state, hk.LSTMState) else state

        is_lstm = lambda s: isinstance(s, hk.LSTMState)  # noqa: E731
        return jax.tree.map(ordered, state, is_leaf=is_lstm), ys

    return hk.without_apply_rng(hk.transform(unroll))


def weights_of(run, xs):
    with x64():
        return normal(jax.eval_shape(run.init, jax.random.key(0), xs))


@pytest.mark.parametrize(("name", "reverse"), [(name, "L" in name) for name in CORES])
def test_a_core_read_is_the_core(name, reverse):
    run = transformed(CORES[name])
    xs = inputs(*GRID, D) if "Conv" in name else inputs()
    theirs = weights_of(run, xs[0])
    core = name.split("_")[0]

    def read(params, xs):
        cell, p = haiku.from_params(core, params, shape=GRID)

        return ours(rx.reverse(cell) if reverse else cell, p, xs)

    assert_same_networks(theirs, xs, per_example(run.apply, reverse=reverse), read)
    with x64():
        theirs = jax.tree.map(jnp.asarray, theirs)
        _, params = haiku.from_params(core, theirs, shape=GRID)
        written = haiku.to_params(core, params)
        assert_close(haiku.from_params(core, written, shape=GRID)[1], params)
        if core in ("LSTM", "GRU"):  # those with one bias
            assert_close(written, theirs)
        else:
            want = run.apply(theirs, jnp.asarray(xs[0]))
            assert_close(run.apply(written, jnp.asarray(xs[0])), want)


def test_three_layers():
    def make():
        return hk.DeepRNN([hk.LSTM(4), hk.GRU(3), hk.LSTM(2, name="top")])

    run, xs = transformed(make), inputs()
    theirs = weights_of(run, xs[0])
    places = [("LSTM", "lstm"), ("GRU", "gru"), ("LSTM", "top")]

    def read(params, xs):
        layers = [haiku.from_params(core, params, name) for core, name in places]
        model = rx.serial(*(cell for cell, _ in layers))
        return ours(model, tuple(p for _, p in layers), xs)

    assert_same_networks(theirs, xs, per_example(run.apply), read)


def test_what_cannot_be_read_or_written_says_so():
    params = rx.gru(4).init(jax.random.key(0), jnp.ones(D))
    with pytest.raises(ValueError, match="core must be one of"):
        haiku.from_params("IdentityCore", {})
    with pytest.raises(ValueError, match="must hold lstm/linear/w"):
        haiku.from_params("LSTM", {"gru": {"w_i": jnp.ones((3, 12))}})
    with pytest.raises(ValueError, match=r"arrays \['b', 'w_h', 'w_i'\], got \['w_i'\]"):
        haiku.from_params("GRU", {"gru": {"w_i": jnp.ones((3, 12))}})
    with pytest.raises(ValueError, match="shape, that of the grid"):
        haiku.from_params("Conv1DLSTM", {"conv1_dlstm/input_to_hidden": {"w": jnp.ones((3, 3, 8))}})
    with pytest.raises(ValueError, match=r"params\.b_hn must have shape None"):
        haiku.to_params("GRU", params)  # haiku resets before the product
    with pytest.raises(TypeError, match="must be the LSTMParams"):
        haiku.to_params("LSTM", params)
    with pytest.raises(TypeError, match="params must be those of a cell, got tuple"):
        haiku.to_params("LSTM", (params,))
    peepholes = rx.conv_lstm(2, (4,)).init(jax.random.key(0), jnp.ones((4, D)))
    with pytest.raises(ValueError, match=r"params\.p_i must have shape None"):
        haiku.to_params("Conv1DLSTM", peepholes)
