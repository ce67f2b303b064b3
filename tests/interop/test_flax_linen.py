"""flax.linen, live: weights both ways, its cells here, ours there."""

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
    assert_close,
    assert_same_networks,
    inputs,
    masked,
    normal,
    ours,
)
from tests.support import x64

nn: Any = linen  # whose `apply` has more return types than one test needs
F64 = {"param_dtype": jnp.float64}
GRID = (4, 3)
CELLS = {
    "SimpleCell": lambda: nn.SimpleCell(4, **F64),
    "SimpleCell_relu": lambda: nn.SimpleCell(4, activation_fn=nn.relu, **F64),
    "SimpleCell_residual": lambda: nn.SimpleCell(4, residual=True, **F64),
    "LSTMCell": lambda: nn.LSTMCell(4, **F64),
    "OptimizedLSTMCell": lambda: nn.OptimizedLSTMCell(4, **F64),
    "GRUCell": lambda: nn.GRUCell(4, **F64),
    "MGUCell": lambda: nn.MGUCell(4, **F64),
    "MGUCell_without_reset": lambda: nn.MGUCell(4, reset_gate=False, **F64),
    "ConvLSTMCell": lambda: nn.ConvLSTMCell(2, (3, 2), **F64),
    "ConvLSTMCell_without_bias": lambda: nn.ConvLSTMCell(2, (3, 2), use_bias=False, **F64),
}


def shape_of(name):
    return (*GRID, D) if "Conv" in name else (D,)


def weights_of(module, xs):
    with x64():
        shapes = jax.eval_shape(module.init, jax.random.key(0), xs)
    return normal(shapes["params"])


def run_linen(rnn):
    def run(params, xs):
        carry, ys = rnn.apply({"params": params}, xs, seq_lengths=LENGTHS, return_carry=True)
        return carry, masked(ys)

    return run


class Stack(nn.Module):
    """nn.Sequential, with the same params, but that it hands the lengths on."""

    layers: list

    @nn.compact
    def __call__(self, xs):
        carries = []
        for layer in self.layers:
            carry, xs = layer(xs, seq_lengths=LENGTHS, return_carry=True)
            carries.append(carry)
        return tuple(carries), xs


def three_layers():
    return [
        nn.Bidirectional(nn.RNN(nn.LSTMCell(3, **F64)), nn.RNN(nn.GRUCell(2, **F64))),
        nn.RNN(nn.MGUCell(4, **F64), reverse=True, keep_order=True),
        nn.Bidirectional(
            nn.RNN(nn.GRUCell(3, **F64)), nn.RNN(nn.SimpleCell(3, **F64)), merge_fn=jnp.add
        ),
    ]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_read_and_a_cell_wrapped_are_the_cell(name):
    linen, xs = CELLS[name](), inputs(*shape_of(name))
    with x64():
        shape = xs.shape[2:] if "Conv" in name else None
        wrapped = flax_linen.from_cell(linen, input_shape=shape)
    theirs = weights_of(nn.RNN(linen), xs)["cell"]

    def peer(params, xs):
        return run_linen(nn.RNN(linen))({"cell": params}, xs)

    def read(params, xs):
        model, p = flax_linen.from_params(nn.RNN(linen), {"cell": params}, shape=GRID)
        return ours(model, p, xs)

    assert_same_networks(theirs, xs, peer, read, lambda params, xs: ours(wrapped, params, xs))
    with x64():
        x = jax.ShapeDtypeStruct(xs.shape[2:], jnp.float64)
        made = jax.eval_shape(wrapped.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, theirs)


@x64()
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_written_is_the_cell_that_was_read(name):
    cell, xs = CELLS[name](), inputs(*shape_of(name))
    theirs = jax.tree.map(jnp.asarray, weights_of(nn.RNN(cell), xs)["cell"])
    _, params = flax_linen.from_params(cell, theirs, shape=GRID)
    written = flax_linen.to_params(cell, params, shape=GRID)
    assert jax.tree.map(jnp.shape, written) == jax.tree.map(jnp.shape, theirs)
    assert_close(flax_linen.from_params(cell, written, shape=GRID)[1], params)
    if name != "ConvLSTMCell":  # whose two biases are one here
        assert_close(written, theirs)


def test_three_layers_of_both_directions():
    module, xs = nn.Sequential(three_layers()), inputs()
    theirs = weights_of(module, xs)

    def read(params, xs):
        model, p = flax_linen.from_params(module, params)
        return ours(model, p, xs)

    def run(params, xs):
        carry, ys = Stack(three_layers()).apply({"params": params}, xs)
        return carry, masked(ys)

    assert_same_networks(theirs, xs, run, read)
    with x64():
        model, params = flax_linen.from_params(module, theirs)
        assert_close(flax_linen.to_params(module, params), jax.tree.map(jnp.asarray, theirs))
    assert repr(model) == (
        "serial(bidirectional(lstm(3), gru(2)), reverse(mgu(4)), "
        "bidirectional(gru(3), elman(3), merge='sum'))"
    )


def test_a_readout():
    module = nn.Sequential([nn.RNN(nn.GRUCell(4)), nn.Dense(5), nn.Dense(2, use_bias=False)])
    xs = inputs().astype("float32")
    params = module.init(jax.random.key(0), xs)["params"]
    model, p = flax_linen.from_params(module, params)
    _, ys = jax.vmap(lambda xs: model.apply(p, xs))(xs)
    expected = module.apply({"params": params}, xs)
    np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-6)  # float32: two product orders
    with_bias = (*p[:2], p[2]._replace(b=jnp.ones(2)))
    with pytest.raises(ValueError, match=r"no place for params.b"):
        flax_linen.to_params(module, with_bias)


class OwnGRU(nn.GRUCell):
    """A user's own cell, which may compute anything."""


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.GRUCell(4, gate_fn=nn.hard_sigmoid), ValueError, "gate_fn"),
        (nn.LSTMCell(4, activation_fn=nn.relu), ValueError, "activation_fn"),
        (nn.LSTMCell(4, carry_init=nn.initializers.ones), ValueError, "carry_init"),
        (nn.RNN(nn.GRUCell(4), reverse=True), ValueError, "keep_order"),
        (nn.RNN(nn.GRUCell(4), variable_axes={"params": 0}), ValueError, "variable_axes"),
        (nn.RNN(nn.GRUCell(4), variable_broadcast=False), ValueError, "variable_broadcast"),
        (nn.ConvLSTMCell(4, (3,), strides=(2,)), ValueError, "strides"),
        (nn.ConvLSTMCell(4, (3,), padding="VALID"), ValueError, "padding"),
        (nn.ConvLSTMCell(4, (3,)), ValueError, "shape"),
        (nn.Conv(4, (3,)), TypeError, "Conv"),
        (nn.Sequential([nn.RNN(nn.GRUCell(4)), nn.relu]), TypeError, "class of flax itself"),
        (nn.Sequential([nn.RNN(nn.GRUCell(4)), nn.Dropout(0.1)]), TypeError, "got Dropout"),
        (nn.Bidirectional(nn.GRUCell(4), nn.GRUCell(4)), TypeError, "Bidirectional"),
        (OwnGRU(4), TypeError, "class of flax itself, got .*OwnGRU"),
        (
            nn.Bidirectional(
                nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4)), merge_fn=lambda a, b: a * b
            ),
            ValueError,
            "merge_fn",
        ),
    ],
)
def test_what_cannot_be_read_says_so(module, error, message):
    with pytest.raises(error, match=message):
        flax_linen.from_params(module, {})


def test_params_of_another_module_say_so():
    cell = nn.GRUCell(4)
    theirs = cell.init(jax.random.key(0), jnp.zeros(4), jnp.zeros(3))["params"]
    _, params = flax_linen.from_params(cell, theirs)
    with pytest.raises(ValueError, match=r"hi/kernel.*got.*hn/bias"):
        flax_linen.from_params(nn.LSTMCell(4), theirs)
    with pytest.raises(ValueError, match=r"shape \(3, 15\), got \(3, 12\)"):
        flax_linen.from_params(nn.GRUCell(5), theirs)
    with pytest.raises(ValueError, match=r"one shape.*in/kernel"):
        flax_linen.from_params(cell, {**theirs, "in": {"kernel": jnp.ones((2, 4)), "bias": 0}})
    with pytest.raises(ValueError, match="'cell'"):
        flax_linen.from_params(nn.RNN(cell), theirs)
    with pytest.raises(TypeError, match="must be a dict"):
        flax_linen.from_params(cell, params)
    with pytest.raises(ValueError, match="computes in bfloat16"):
        flax_linen.from_params(nn.GRUCell(4, dtype=jnp.bfloat16), theirs)
    with pytest.raises(TypeError, match="LSTMParams"):
        flax_linen.to_params(nn.LSTMCell(4), params)
    with pytest.raises(ValueError, match=r"params\.w_x"):
        flax_linen.to_params(nn.GRUCell(5), params)
    with pytest.raises(ValueError, match=r"params\.b_hn"):  # which resets before the product
        flax_linen.to_params(cell, params._replace(b_hn=None))
    with pytest.raises(TypeError, match="tuple of 2"):
        flax_linen.to_params(nn.Sequential([nn.RNN(cell), nn.RNN(cell)]), params)


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
        "conv": (rx.conv_gru(2, GRID), (*GRID, D)),
    }[name]
    xs = inputs(*shape)
    module = flax_linen.to_cell(cell, num_feature_axes=len(shape), param_dtype=jnp.float64)
    with x64():
        x = jax.ShapeDtypeStruct(shape, jnp.float64)
        params = normal(jax.eval_shape(cell.init, jax.random.key(0), x))

    def there(params, xs):
        weights = {"cell": {"weights": serialization.to_state_dict(params)}}
        return run_linen(nn.RNN(module, reverse=reverse, keep_order=True))(weights, xs)

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
