"""flax.nnx, live: weights both ways, its cells here, ours there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import recurrax as rx
from recurrax.interop import flax_nnx
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

pytestmark = pytest.mark.slow  # minutes of compiling: `pytest -m slow`

F64 = {"param_dtype": jnp.float64}
# nnx.SimpleCell computes in float32 unless it is told not to.
SIMPLE = {**F64, "dtype": jnp.float64}
CELLS = {
    "SimpleCell": lambda rngs, **k: nnx.SimpleCell(D, 4, **SIMPLE, **k, rngs=rngs),
    "SimpleCell_residual": lambda rngs: nnx.SimpleCell(D, 4, residual=True, **SIMPLE, rngs=rngs),
    "LSTMCell": lambda rngs: nnx.LSTMCell(D, 4, **F64, rngs=rngs),
    "OptimizedLSTMCell": lambda rngs: nnx.OptimizedLSTMCell(D, 4, **F64, rngs=rngs),
    "GRUCell": lambda rngs: nnx.GRUCell(D, 4, **F64, rngs=rngs),
}


def weights_of(module):
    return normal(nnx.to_pure_dict(nnx.state(module, nnx.Param)))


def run_nnx(make):
    """The network that `make` builds, as a function of a pure dict of its params."""

    def run(params, xs):
        module = make()
        nnx.update(module, params)
        carry, ys = module(xs, seq_lengths=jnp.asarray(LENGTHS), return_carry=True)
        return carry, masked(ys)

    return run


def reading(make):
    """The same, read; a pure dict is written into the module only to be read out of it."""

    def run(params, xs):
        module = make()
        nnx.update(module, params)
        return ours(*flax_nnx.from_params(module), xs)

    return run


class Stack(nnx.Module):
    """nnx.Sequential, with the same params, but that it hands the lengths on."""

    def __init__(self, *layers):
        self.layers = nnx.List(layers)

    def __call__(self, xs, *, seq_lengths, return_carry):
        carries = []
        for layer in self.layers:
            carry, xs = layer(xs, seq_lengths=seq_lengths, return_carry=return_carry)
            carries.append(carry)
        return tuple(carries), xs


def three_layers():
    rngs = nnx.Rngs(0)
    return (
        nnx.Bidirectional(
            nnx.RNN(nnx.LSTMCell(D, 3, **F64, rngs=rngs)),
            nnx.RNN(nnx.GRUCell(D, 2, **F64, rngs=rngs)),
        ),
        nnx.RNN(nnx.OptimizedLSTMCell(5, 4, **F64, rngs=rngs), reverse=True, keep_order=True),
        nnx.Bidirectional(
            nnx.RNN(nnx.GRUCell(4, 3, **F64, rngs=rngs)),
            nnx.RNN(nnx.SimpleCell(4, 3, **SIMPLE, rngs=rngs)),
            merge_fn=jnp.add,
        ),
    )


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_read_and_a_cell_wrapped_are_the_cell(name):
    def make():
        return nnx.RNN(CELLS[name](nnx.Rngs(0)))

    with x64():
        theirs = weights_of(make())
        wrapped = flax_nnx.from_cell(CELLS[name])

    def wrapping(params, xs):
        return ours(wrapped, params["cell"], xs)

    assert_same_networks(theirs, inputs(), run_nnx(make), reading(make), wrapping)


@x64()
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_written_is_the_cell_that_was_read(name):
    module = CELLS[name](nnx.Rngs(0))
    theirs = jax.tree.map(jnp.asarray, weights_of(module))
    before = nnx.to_pure_dict(nnx.state(module))
    nnx.update(module, theirs)
    _, params = flax_nnx.from_params(module)
    other = CELLS[name](nnx.Rngs(0))
    written = flax_nnx.to_params(other, params)
    assert_close(written, theirs)
    assert_close(nnx.to_pure_dict(nnx.state(other)), before, 0)  # which is not written to
    nnx.update(other, written)
    assert_close(flax_nnx.from_params(other)[1], params)


def test_three_layers_of_both_directions():
    with x64():
        module = nnx.Sequential(*three_layers())
        theirs = weights_of(module)
    networks = (
        run_nnx(lambda: Stack(*three_layers())),
        reading(lambda: nnx.Sequential(*three_layers())),
    )
    assert_same_networks(theirs, inputs(), *networks)
    with x64():
        theirs = jax.tree.map(jnp.asarray, theirs)
        nnx.update(module, theirs)
        model, params = flax_nnx.from_params(module)
        assert_close(flax_nnx.to_params(module, params), theirs)
    assert repr(model) == (
        "serial(bidirectional(lstm(3), gru(2)), reverse(lstm(4)), "
        "bidirectional(gru(3), elman(3), merge='sum'))"
    )


def test_a_readout():
    rngs = nnx.Rngs(0)
    module = nnx.Sequential(nnx.RNN(nnx.GRUCell(D, 4, rngs=rngs)), nnx.Linear(4, 2, rngs=rngs))
    xs = inputs().astype("float32")
    model, params = flax_nnx.from_params(module)
    _, ys = jax.vmap(lambda xs: model.apply(params, xs))(xs)
    np.testing.assert_allclose(ys, module(xs), rtol=1e-5, atol=1e-6)  # float32


class OwnGRU(nnx.GRUCell):
    """A user's own cell, which may compute anything."""


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda r: nnx.GRUCell(3, 4, gate_fn=nnx.relu, rngs=r), ValueError, "gate_fn"),
        (lambda r: nnx.LSTMCell(3, 4, activation_fn=nnx.relu, rngs=r), ValueError, "activation_fn"),
        (lambda r: nnx.LSTMCell(3, 4, dtype=jnp.bfloat16, rngs=r), ValueError, "in bfloat16"),
        (lambda r: nnx.RNN(nnx.GRUCell(3, 4, rngs=r), reverse=True), ValueError, "keep_order"),
        (lambda r: OwnGRU(3, 4, rngs=r), TypeError, "class of flax itself, got .*OwnGRU"),
        (lambda r: nnx.Conv(3, 4, (3,), rngs=r), TypeError, "Conv"),
    ],
)
def test_what_cannot_be_read_says_so(make, error, message):
    with pytest.raises(error, match=message):
        flax_nnx.from_params(make(nnx.Rngs(0)))


def test_what_cannot_be_written_says_so():
    module = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
    params = rx.gru(4).init(jax.random.key(0), jnp.ones(3))
    with pytest.raises(ValueError, match=r"no place for params\.b_hn, which is not zero"):
        flax_nnx.to_params(module, params._replace(b_hn=jnp.ones(4)))
    with pytest.raises(ValueError, match=r"params\.b_hn.*under jit"):
        jax.jit(lambda p: flax_nnx.to_params(module, p))(params)
    with pytest.raises(TypeError, match="LSTMParams"):
        flax_nnx.to_params(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)), params)
    with pytest.raises(ValueError, match="its params have shapes"):
        flax_nnx.to_params(nnx.GRUCell(2, 4, rngs=nnx.Rngs(0)), params)
