"""flax.nnx, live: cells and modules of either kind as the other's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import recurrax as rx
from recurrax.interop import flax_nnx
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

pytestmark = pytest.mark.slow  # minutes of compiling: `pytest -m slow`

F64 = {"param_dtype": jnp.float64}


class Noisy(nnx.Module):
    """A cell that drops its output."""

    def __init__(self, rngs):
        self.dense, self.drop = nnx.Linear(D, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, carry, inputs):
        return carry + self.dense(inputs), self.drop(inputs)

    def initialize_carry(self, input_shape, rngs):
        return jnp.zeros((*input_shape[:-1], 4))


class Counting(Noisy):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.calls = nnx.BatchStat(jnp.zeros(()))


@pytest.mark.parametrize("source", [Noisy, Noisy(nnx.Rngs(0))])
def test_the_key_reaches_an_nnx_cell(source):
    cell, xs = flax_nnx.from_cell(source), jnp.ones((50, D))
    params = cell.init(jax.random.key(0), xs[0])
    drawn_anew = not jnp.array_equal(
        params["dense"]["kernel"], cell.init(jax.random.key(1), xs[0])["dense"]["kernel"]
    )
    assert drawn_anew == (source is Noisy)
    _, still = rx.unroll(cell, params, xs)
    np.testing.assert_array_equal(still, xs)
    _, ys = rx.unroll(cell, params, xs, key=jax.random.key(1))
    assert set(np.unique(ys)) == {0.0, 2.0}
    assert len(np.unique(ys, axis=0)) > 2  # another mask at every step


def test_what_from_cell_cannot_take():
    with pytest.raises(TypeError, match="got Linear"):
        flax_nnx.from_cell(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"variables other than params.*calls"):
        flax_nnx.from_cell(Counting)


def learned(features):
    """A cell whose initial state is one of its params."""
    cell = rx.lstm(features)

    def init(key, x):
        params = cell.init(key, x)
        return params, cell.initial_state(params)

    return rx.Cell(init, lambda p: p[1], lambda p, s, x, key=None: cell.step(p[0], s, x), "learned")


@pytest.mark.parametrize(("cell", "reverse"), [(learned(4), True), (rx.gru(4), False)])
def test_any_of_our_cells_in_nnx_rnn(cell, reverse):
    with x64():
        x = jax.ShapeDtypeStruct((D,), jnp.float64)
        params = normal(jax.eval_shape(cell.init, jax.random.key(0), x))

    def there(params, xs):
        module = flax_nnx.to_cell(cell, x, rngs=nnx.Rngs(0))
        module.weights = nnx.data(jax.tree.map(nnx.Param, params))
        rnn: Any = nnx.RNN(module, reverse=reverse, keep_order=True)
        carry, ys = rnn(xs, seq_lengths=jnp.asarray(LENGTHS), return_carry=True)
        return carry, masked(ys)

    def here(params, xs):
        def one(xs, length):
            return rx.unroll(cell, params, xs, length=length, reverse=reverse)

        return jax.vmap(one)(xs, jnp.asarray(LENGTHS))

    assert_same_networks(params, inputs(), here, there)


def noisy(features):
    """A cell of ours that is noise where it has a key."""
    cell = rx.gru(features)

    def step(params, state, x, key=None):
        state, y = cell.step(params, state, x)
        return state, y if key is None else jax.random.normal(key, y.shape)

    return rx.Cell(cell.init, cell.initial_state, step, "noisy")


def test_the_stream_dropout_reaches_our_cell():
    xs = jnp.ones((B, T, D))
    module = flax_nnx.to_cell(noisy(4), xs[0, 0], rngs=nnx.Rngs(0, dropout=1), stochastic=True)
    rnn: Any = nnx.RNN(module)
    ys = rnn(xs)
    assert len(np.unique(ys)) == ys.size  # every example and step has a key of its own
    assert not np.any(rnn(xs) == ys)
    module.eval()
    np.testing.assert_array_equal(rnn(xs)[0], rnn(xs)[1])
    module.train()
    assert len(np.unique(rnn(xs))) == ys.size
    with pytest.raises(ValueError, match="carry_init must be None"):
        module.initialize_carry((B, D), carry_init=nnx.initializers.ones)


def test_any_of_our_models_as_a_module():
    model = rx.serial(rx.bidirectional(rx.lstm(3), rx.gru(2)), rx.dropout(0.5), rx.gru(2))
    lengths = jnp.array([T, 0, 3])
    resets = jnp.asarray(np.random.default_rng(3).random((B, T)) < 0.3)
    with x64():
        example = jax.ShapeDtypeStruct((T, D), jnp.float64)
        params = normal(jax.eval_shape(model.init, jax.random.key(0), example))
        state = jax.eval_shape(jax.vmap(lambda xs: model.apply(params, xs)), inputs())[0]
        state = jax.tree.map(jnp.asarray, normal(state, seed=4))

    def there(params, xs):
        module = flax_nnx.to_module(model, example, rngs=nnx.Rngs(0))
        module.weights = nnx.data(jax.tree.map(nnx.Param, params))
        return module(xs, state=state, length=lengths, resets=resets)

    def here(params, xs):
        def one(xs, state, length, resets):
            return model.apply(params, xs, state=state, length=length, resets=resets)

        return jax.vmap(one)(xs, state, lengths, resets)

    assert_same_networks(params, inputs(), here, there)


def test_a_module_in_nnx_style():
    """Its weights are nnx.Params, in our tree; nnx.grad and the key work as anywhere."""
    module = flax_nnx.to_module(noisy(4), jnp.ones((T, D)), rngs=nnx.Rngs(0))
    xs = jnp.ones((B, T, D))
    gradient = nnx.grad(lambda m: jnp.sum(m(xs)[1]))(module)
    assert set(nnx.to_pure_dict(gradient)["weights"]) == {"w_x", "w_h", "b", "b_hn"}
    _, ys = module(xs, key=jax.random.key(1))
    assert len(np.unique(ys)) == ys.size
    state, ys = module(jnp.ones((T, D)))  # without a batch
    assert (state.shape, ys.shape) == ((4,), (T, 4))
