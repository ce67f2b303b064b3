"""`interop.keras` against live Keras, whose JAX backend computes in float32 at most."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.cells import LSTMState
from recurrax.compose import Bidirectional
from recurrax.interop import keras as interop
from tests.cells.harness import assert_close, random_like

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras

pytestmark = [
    pytest.mark.slow,  # minutes of compiling: `pytest -m slow`
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="its gradients are compared through JAX"
    ),
]

T, D, H = 5, 2, 3
LENGTHS = np.array([5, 3, 0, 1])
B = len(LENGTHS)
GRID = (4, 3)

# A sum of some tens of products is off by several units in the last place, 6e-8 each; gradients are
# sums over all steps and examples, and reach magnitudes of ten. A weight misplaced is off by 0.1.
OUTPUTS, GRADIENTS = 3e-6, 3e-5

FULL = {"return_sequences": True, "return_state": True}


def one_way(kind, **options):
    return lambda: getattr(keras.layers, kind)(H, **FULL, **options)


def both_ways(kind, merge_mode="concat", **options):
    return lambda: keras.layers.Bidirectional(one_way(kind, **options)(), merge_mode=merge_mode)


def conv(kind, kernel_size):
    return one_way(kind, kernel_size=kernel_size, padding="same")


CASES = {
    "simple": [both_ways("SimpleRNN")] * 3,
    "lstm": [both_ways("LSTM")] * 3,
    "gru": [both_ways("GRU", reset_after=True)] * 3,
    "gru_before": [both_ways("GRU", reset_after=False)] * 3,
    "one_way_mixed": [one_way("GRU"), one_way("LSTM"), one_way("SimpleRNN", activation="relu")],
    "merged": [both_ways("LSTM", "sum"), both_ways("GRU", "ave", reset_after=False)],
    "without_biases": [one_way(kind, use_bias=False) for kind in ("SimpleRNN", "LSTM", "GRU")],
    "conv_1d": [conv("ConvLSTM1D", 3)],
    "conv_2d": [conv("ConvLSTM2D", (3, 2)), conv("ConvLSTM2D", 1)],
}


def grid(name):
    return GRID[: int(name[5])] if name.startswith("conv") else ()


def build(name):
    """The layers, built, with random weights; inputs; and every initial state, drawn."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(B, T, *grid(name), D))
    layers, ys, states = [make() for make in CASES[name]], xs, []
    for layer in layers:
        ys, *finals = layer(ys)
        states.append(random_like(rng, [np.zeros(s.shape) for s in finals]))
        layer.set_weights(random_like(rng, layer.get_weights()))
    return layers, xs, states


def lengths_of(xs):
    """All T for grids: on JAX, Keras broadcasts a mask [B] against their last axes."""
    return LENGTHS if xs.ndim == 3 else np.full(B, T)


def theirs(layers, weights, xs, states):
    """The outputs and final states of layers that are given their weights."""
    finals, mask = [], np.arange(T) < lengths_of(xs)[:, None]
    for layer, w, state in zip(layers, weights, states, strict=True):
        rest = [variable.value for variable in layer.non_trainable_variables]  # seeds
        (xs, *final), _ = layer.stateless_call(
            w, rest, xs, mask=mask if xs.ndim == 3 else None, initial_state=state
        )
        finals.append(final)
    mask = mask.reshape(B, T, *(1,) * (xs.ndim - 2))
    return jnp.where(mask, xs, 0), finals  # Keras repeats an output where we have zeros


def to_tree(layer, state):
    """Keras's list of states, h before c, as ours."""
    if isinstance(layer, keras.layers.Bidirectional):
        half = len(state) // 2
        ends = (layer.forward_layer, state[:half]), (layer.backward_layer, state[half:])
        return Bidirectional(*(to_tree(*end) for end in ends))
    return LSTMState(c=state[1], h=state[0]) if len(state) == 2 else state[0]


def from_tree(state):
    if isinstance(state, Bidirectional):
        return from_tree(state.forward) + from_tree(state.backward)
    return [state.h, state.c] if isinstance(state, LSTMState) else [state]


def apply(model, params, layers, xs, states):
    tree = tuple(to_tree(*both) for both in zip(layers, states, strict=True))
    state, ys = jax.vmap(lambda x, s, n: model.apply(params, x, state=s, length=n))(
        xs, tree, lengths_of(xs)
    )
    return ys, [from_tree(s) for s in state]


@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_are_keras(name):
    """And, written back, our params are the layers' weights, up to where a bias is kept."""
    layers, xs, states = build(name)
    configs: Any = [keras.layers.serialize(layer) for layer in layers]
    weights = [layer.get_weights() for layer in layers]
    cotangents = random_like(np.random.default_rng(1), theirs(layers, weights, xs, states))

    def ours(layers, weights, xs, states):
        arrays = [leaf for w in weights for leaf in w]
        model, params = interop.from_config(configs, arrays, shape=grid(name))
        return apply(model, params, layers, xs, states)

    def value_and_gradients(f):
        def number(*arguments):
            result = f(layers, *arguments)
            leaves = zip(jax.tree.leaves(cotangents), jax.tree.leaves(result), strict=True)
            return sum(jnp.vdot(a, b) for a, b in leaves), result

        return jax.jit(jax.grad(number, (0, 1, 2), has_aux=True))(weights, xs, states)

    gradients, result = value_and_gradients(ours)
    expected_gradients, expected = value_and_gradients(theirs)
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(expected_gradients))
    assert_close(result, expected, OUTPUTS)
    assert_close(gradients, expected_gradients, GRADIENTS)

    model, like = interop.from_layers(*layers)
    params = random_like(np.random.default_rng(2), like)
    biased = name != "without_biases"
    if not biased:
        params = jax.tree.map(lambda leaf: leaf * (leaf.ndim > 1), params)
    written = iter(interop.to_weights(params, bias=biased))
    weights = [[next(written) for _ in layer.get_weights()] for layer in layers]
    assert next(written, None) is None
    ours_back = apply(model, params, layers, xs, states)
    assert_close(ours_back, theirs(layers, weights, xs, states), OUTPUTS)


def test_go_backwards_to_the_last_state_is_reverse():
    layer = keras.layers.GRU(H, go_backwards=True)
    xs = np.random.default_rng(0).normal(size=(1, T, D))
    y = layer(xs)
    model, params = interop.from_layers(layer)
    assert repr(model) == f"serial(reverse(gru({H})))"
    assert_close(model.apply(params, xs[0])[0][0], y[0], OUTPUTS)


def lstm_config(**settings):
    return {"class_name": "LSTM", "config": {"units": H, **settings}}


def bidirectional_config(forward, **settings):
    return {"class_name": "Bidirectional", "config": {"layer": forward, **settings}}


WEIGHTS = [np.ones((D, 4 * H)), np.ones((H, 4 * H)), np.ones(4 * H)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (lstm_config(activation="relu"), "activation must be 'tanh', got 'relu'"),
        (lstm_config(recurrent_activation="hard_sigmoid"), "recurrent_activation must be"),
        (lstm_config(activation={"class_name": "Mine"}), "activation must be 'tanh'"),
        (lstm_config(dropout=0.1), r"dropout must be 0, got 0.1.*ignore=\('dropout',\)"),
        (lstm_config(recurrent_dropout=0.1), "recurrent_dropout must be 0"),
        (lstm_config(stateful=True), "stateful must be False"),
        (lstm_config(go_backwards=True, return_sequences=True), "go_backwards"),
        (lstm_config(kernel_regularizer={"class_name": "L2"}), "kernel_regularizer must be None"),
        (lstm_config(bias_constraint="non_neg"), "bias_constraint must be None"),
        (lstm_config(dtype="mixed_bfloat16"), "computes in mixed_bfloat16"),
        (lstm_config(invented=3), "what invented=3 does is not known"),
        (lstm_config(units=2), r"kernel: expected shape \[\.\.\., 8\], got \(2, 12\)"),
        ({"class_name": "Dense", "config": {"units": H}}, "got 'Dense'"),
        ({"class_name": "SimpleRNN", "config": {"units": 12, "activation": "elu"}}, "elu"),
        ([lstm_config()] * 2, "LSTM's kernel is missing"),
        (lstm_config(use_bias=False), "1 of 3 arrays are left over"),
        (bidirectional_config(lstm_config(), merge_mode="mul"), "merge_mode must be of"),
        (bidirectional_config(lstm_config(), merge_mode=None), "merge_mode must be of"),
        (bidirectional_config(lstm_config(go_backwards=True)), "must have go_backwards"),
        (bidirectional_config(lstm_config(dropout=0.5)), "dropout must be 0"),
    ],
)
def test_mistakes_on_the_way_in(config, words):
    weights = WEIGHTS
    if isinstance(config, dict) and config["class_name"] == "SimpleRNN":
        weights = [np.ones((D, 12)), np.ones((12, 12)), np.ones(12)]
    with pytest.raises(ValueError, match=words):
        interop.from_config(config, weights)


def test_a_class_of_ones_own_with_a_name_of_keras():
    plain: Any = keras.layers.serialize(keras.layers.LSTM(H))
    assert repr(interop.from_config(plain, WEIGHTS)[0]) == f"serial(lstm({H}))"
    for changes in ({"module": "mine.layers"}, {"registered_name": "mine>LSTM"}):
        config: Any = plain | changes
        for layer in (config, bidirectional_config(config)):
            with pytest.raises(ValueError, match=r"got mine.* LSTM, which may compute anything"):
                interop.from_config(layer, WEIGHTS)
    own = type("LSTM", (keras.layers.LSTM,), {"__module__": "mine"})(H)
    own.build((1, T, D))
    with pytest.raises(ValueError, match="got mine LSTM"):
        interop.from_layers(own)


def test_the_grid_of_two_directions():
    layer = keras.layers.Bidirectional(conv("ConvLSTM1D", 3)())
    layer.build((1, T, 4, D))
    cell = f"conv_lstm({H}, (4,), (3,))"
    assert repr(interop.from_layers(layer)[0]) == f"serial(bidirectional({cell}, {cell}))"


def test_what_is_ignored_is_said():
    config = lstm_config(dropout=0.1, kernel_regularizer="l2", invented=3, dtype="mixed_bfloat16")
    ignore = ("dropout", "kernel_regularizer", "invented", "dtype")
    assert repr(interop.from_config(config, WEIGHTS, ignore=ignore)[0]) == f"serial(lstm({H}))"
    with pytest.raises(ValueError, match="invented"):
        interop.from_config(config, WEIGHTS, ignore=ignore[:2])


def test_convolutions_that_are_not_ours():
    weights = [np.ones((3, 3, D, 4 * H)), np.ones((3, 3, H, 4 * H)), np.ones(4 * H)]

    def read(shape=GRID, **settings):
        config = {"class_name": "ConvLSTM2D", "config": {"filters": H, **settings}}
        return interop.from_config(config, weights, shape=shape)

    assert repr(read(strides=[1, 1], padding="same")[0]).startswith("serial(conv_lstm(")
    with pytest.raises(ValueError, match="padding must be 'same'"):
        read(padding="valid")
    with pytest.raises(ValueError, match="strides must be 1"):
        read(strides=(2, 2))
    with pytest.raises(ValueError, match="data_format"):
        read(data_format="channels_first")
    with pytest.raises(ValueError, match="needs the shape of its grid"):
        read(shape=None)


def test_mistakes_with_layers_and_on_the_way_out():
    with pytest.raises(ValueError, match="have no weights yet"):
        interop.from_layers(keras.layers.LSTM(3))
    key = jax.random.key(0)
    with pytest.raises(TypeError, match="no layer for DenseParams"):
        interop.to_weights(rx.dense(H).init(key, jnp.ones(D)))
    peepholes = rx.conv_lstm(H, GRID).init(key, jnp.ones((*GRID, D)))
    with pytest.raises(ValueError, match="no peepholes"):
        interop.to_weights(peepholes)
    with pytest.raises(ValueError, match="not zero"):
        interop.to_weights(rx.lstm(H).init(key, jnp.ones(D)), bias=False)
