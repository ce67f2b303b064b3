"""flax.linen, live: cells and modules of either kind as the other's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, serialization

import recurrax as rx
from recurrax.interop import flax_linen
from tests.interop.agreement import (
    LENGTHS,
    B,
    D,
    T,
    assert_same_networks,
    inputs,
    masked,
    normal,
)
from tests.support import x64

nn: Any = linen  # whose `apply` has more return types than one test needs
F64 = {"param_dtype": jnp.float64}


class Noisy(nn.RNNCellBase):
    """A cell whose output is dropped, and which may count its calls."""

    counts: bool = False
    num_feature_axes = 1

    @nn.compact
    def __call__(self, carry, inputs):
        if self.counts:
            self.variable("counts", "calls", jnp.zeros, ())
        dropped = nn.Dropout(0.5, deterministic=not self.has_rng("params"))(inputs)
        return carry + nn.Dense(4)(inputs), dropped

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], 4))


def test_the_key_reaches_a_linen_cell():
    cell, xs = flax_linen.from_cell(Noisy()), jnp.ones((50, D))
    params = cell.init(jax.random.key(0), xs[0])
    _, still = rx.unroll(cell, params, xs)
    np.testing.assert_array_equal(still, xs)
    _, ys = rx.unroll(cell, params, xs, key=jax.random.key(1))
    assert set(np.unique(ys)) == {0.0, 2.0}
    assert len(np.unique(ys, axis=0)) > 2  # another mask at every step


def test_what_from_cell_cannot_take():
    with pytest.raises(TypeError, match="RNNCellBase, got RNN"):
        flax_linen.from_cell(nn.RNN(nn.GRUCell(4)))
    with pytest.raises(ValueError, match="at random"):
        flax_linen.from_cell(nn.GRUCell(4, carry_init=nn.initializers.normal()))
    with pytest.raises(ValueError, match="input_shape"):
        flax_linen.from_cell(nn.ConvLSTMCell(4, (3,)))
    with pytest.raises(ValueError, match="counts"):
        flax_linen.from_cell(Noisy(counts=True)).init(jax.random.key(0), jnp.ones(D))


@pytest.mark.parametrize(("name", "reverse"), [("lstm", True), ("stack", False), ("conv", False)])
def test_any_of_our_cells_in_nn_rnn(name, reverse):
    cell, shape = {
        "lstm": (rx.lstm(4), (D,)),
        "stack": (rx.stack(rx.gru(3), rx.lstm(2)), (D,)),
        "conv": (rx.conv_gru(2, (4, 3)), (4, 3, D)),
    }[name]
    xs = inputs(*shape)
    module = flax_linen.to_cell(cell, num_feature_axes=len(shape), param_dtype=jnp.float64)
    with x64():
        x = jax.ShapeDtypeStruct(shape, jnp.float64)
        params = normal(jax.eval_shape(cell.init, jax.random.key(0), x))

    def there(params, xs):
        weights = {"cell": {"weights": serialization.to_state_dict(params)}}
        rnn = nn.RNN(module, reverse=reverse, keep_order=True)
        carry, ys = rnn.apply({"params": weights}, xs, seq_lengths=LENGTHS, return_carry=True)
        return carry, masked(ys)

    def here(params, xs):
        def one(xs, length):
            return rx.unroll(cell, params, xs, length=length, reverse=reverse)

        return jax.vmap(one)(xs, jnp.asarray(LENGTHS))

    assert_same_networks(params, xs, here, there)
    with x64():
        variables = jax.eval_shape(nn.RNN(module).init, jax.random.key(0), xs)
    assert jax.tree.map(jnp.shape, variables["params"]["cell"]["weights"]) == (
        jax.tree.map(jnp.shape, serialization.to_state_dict(params))
    )


def test_nn_rnn_lays_out_time_and_batch_as_it_likes():
    module = flax_linen.to_cell(rx.gru(4))
    xs = inputs().astype("float32").reshape(1, B, T, D)
    variables = nn.RNN(module).init(jax.random.key(0), xs)
    expected = nn.RNN(module).apply(variables, xs)
    assert expected.shape == (1, B, T, 4)
    got = nn.RNN(module, time_major=True).apply(variables, jnp.moveaxis(xs, 2, 0))
    np.testing.assert_allclose(jnp.moveaxis(got, 0, 2), expected, rtol=1e-6)


def test_weights_are_those_that_init_draws():
    """One draw of the whole tree: cells may draw one leaf to fit another."""
    module: Any = flax_linen.to_cell(rx.lstm(4))
    variables = module.init(
        jax.random.key(0), rx.LSTMState(jnp.zeros(4), jnp.zeros(4)), jnp.ones(D)
    )
    weights = variables["params"]["weights"]
    assert set(weights) == {"w_x", "w_h", "b"}
    np.testing.assert_allclose(
        weights["w_h"][:, :4] @ weights["w_h"][:, :4].T, np.eye(4), atol=1e-6
    )
    np.testing.assert_array_equal(weights["b"], np.repeat([0, 1, 0, 0], 4))


def noisy(features):
    """A cell of ours that adds noise where it has a key."""
    cell = rx.gru(features)

    def step(params, state, x, key=None):
        state, y = cell.step(params, state, x)
        return state, y if key is None else jax.random.normal(key, y.shape)

    return rx.Cell(cell.init, cell.initial_state, step, "noisy")


def test_the_stream_dropout_reaches_our_cell_and_model():
    xs = jnp.ones((B, T, D))
    rnn = nn.RNN(flax_linen.to_cell(noisy(4)), split_rngs={"params": False, "dropout": True})
    variables = rnn.init(jax.random.key(0), xs)
    model: Any = flax_linen.to_module(noisy(4))
    weights = {"params": {"weights": variables["params"]["cell"]["weights"]}}
    still = rnn.apply(variables, xs)
    np.testing.assert_allclose(model.apply(weights, xs)[1], still, rtol=1e-6)
    rngs = {"dropout": jax.random.key(1)}
    for ys in (rnn.apply(variables, xs, rngs=rngs), model.apply(weights, xs, rngs=rngs)[1]):
        assert len(np.unique(ys)) == ys.size  # every example and step has a key of its own


def test_an_initial_state_that_is_learned_needs_to_module():
    cell = rx.Cell(
        init=lambda key, x: jnp.ones(2),
        initial_state=lambda params: params,
        step=lambda params, state, x: (state + x, state + x),
        name="learned",
    )
    xs = jnp.ones((B, T, 2))
    with pytest.raises(ValueError, match="learned: its initial state depends on its params"):
        nn.RNN(flax_linen.to_cell(cell)).init(jax.random.key(0), xs)
    (_, ys), _ = flax_linen.to_module(cell).init_with_output(jax.random.key(0), xs)
    np.testing.assert_array_equal(ys[:, 0], 2 * np.ones((B, 2)))
    given = nn.RNN(flax_linen.to_cell(cell))
    ys, _ = given.init_with_output(jax.random.key(0), xs, initial_carry=jnp.full((B, 2), 5.0))
    np.testing.assert_array_equal(ys[:, 0], 6 * np.ones((B, 2)))


def test_any_of_our_models_as_a_module():
    model = rx.serial(
        rx.bidirectional(rx.lstm(3), rx.gru(2)), rx.dropout(0.5), rx.residual(rx.gru(5)), rx.gru(2)
    )
    module = flax_linen.to_module(model, param_dtype=jnp.float64)
    xs, lengths = inputs(), jnp.array([T, 0, 3])
    resets = jnp.asarray(np.random.default_rng(3).random((B, T)) < 0.3)
    with x64():
        params = normal(
            jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((T, D), "float64"))
        )
        state = jax.eval_shape(jax.vmap(lambda xs: model.apply(params, xs)), xs)[0]
        state = jax.tree.map(jnp.asarray, normal(state, seed=4))

    def there(params, xs):
        weights = {"weights": serialization.to_state_dict(params)}
        arguments = {"state": state, "length": lengths, "resets": resets}
        return module.apply({"params": weights}, xs, **arguments)

    def here(params, xs):
        def one(xs, state, length, resets):
            return model.apply(params, xs, state=state, length=length, resets=resets)

        return jax.vmap(one)(xs, state, lengths, resets)

    assert_same_networks(params, xs, here, there)


def test_a_model_without_a_batch_and_in_a_sequential():
    module = flax_linen.to_module(rx.gru(4))
    (state, ys), variables = module.init_with_output(jax.random.key(0), jnp.ones((T, D)))
    assert (state.shape, ys.shape) == ((4,), (T, 4))
    readout = nn.Sequential([module, lambda state, ys: ys, nn.Dense(2)])
    ys, _ = readout.init_with_output(jax.random.key(0), jnp.ones((B, T, D)))
    assert ys.shape == (B, T, 2)
    with pytest.raises(ValueError, match="at least 2 axes"):
        module.apply(variables, jnp.ones(D))
    with pytest.raises(TypeError, match="one array, got tuple"):
        module.apply(variables, (jnp.ones((T, D)),))
