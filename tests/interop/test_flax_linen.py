"""flax.linen, live: weights both ways, its cells here, ours there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from recurrax.interop import flax_linen
from tests.interop.agreement import (
    LENGTHS,
    D,
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
