"""Our params as operators of ONNX: `interop.to_operator`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.interop import onnx as interop
from tests.cells.harness import assert_close, random_like
from tests.support import x64

T, D, H = 5, 2, 3

MODELS = {
    "elman": rx.elman(H),
    "lstm": rx.lstm(H),
    "peephole": rx.peephole_lstm(H),
    "peephole_o": rx.peephole_lstm(H, ("o",)),
    "coupled": rx.coupled_lstm(H),
    "gru": rx.gru(H),
    "gru_before": rx.gru(H, reset_after=False),
}


@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("name", MODELS)
@x64()
def test_operator_out(name, both):
    cell = MODELS[name]
    model = rx.bidirectional(cell, cell) if both else rx.as_model(cell)
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(T, D))
    like = jax.eval_shape(model.init, jax.random.key(0), xs)
    params = random_like(rng, like)
    extra: Any = {"input_forget": 1} if name == "coupled" else {}
    op_type, inputs, attributes = interop.to_operator(params, **extra)
    Y = interop.run(op_type, xs[:, None], **inputs, **attributes)[0]
    assert_close(Y.reshape(T, -1), model.apply(params, xs)[1])
    back, again = {"RNN": interop.rnn, "GRU": interop.gru, "LSTM": interop.lstm}[op_type](
        **inputs, **attributes
    )
    if name != "peephole_o":  # the operator has all peepholes or none
        assert repr(back) == repr(model)
        assert_close(again, params, 0)


@x64()
def test_a_reversed_layer_out():
    model = rx.reverse(rx.gru(H))
    params = random_like(np.random.default_rng(0), model.init(jax.random.key(0), jnp.ones((T, D))))
    xs = np.random.default_rng(1).normal(size=(T, D))
    operator = interop.to_operator(params, direction="reverse")
    Y = interop.run("GRU", xs[:, None], **operator.inputs, **operator.attributes)[0]
    assert_close(Y[:, 0, 0], model.apply(params, xs)[1])
    assert interop.to_operator(params).attributes["direction"] == "forward"
    both = rx.Bidirectional(params, params)
    for p, direction, words in [
        (params, "bidirectional", "expected forward or reverse, got 'bidirectional'"),
        (both, "reverse", "expected bidirectional, got 'reverse'"),
    ]:
        with pytest.raises(ValueError, match=words):
            interop.to_operator(p, direction=direction)


def test_activation_of_elman_out():
    params = rx.elman(H, activation=jax.nn.relu).init(jax.random.key(0), jnp.ones(D))
    operator = interop.to_operator(params, activations=["Relu"])
    assert operator.attributes["activations"] == ["Relu"]
    X = np.random.default_rng(0).normal(size=(T, 1, D)).astype(np.float32)
    Y = interop.run("RNN", X, **operator.inputs, **operator.attributes)[0]
    _, ys = rx.unroll(rx.elman(H, activation=jax.nn.relu), params, X[:, 0])
    assert_close(Y[:, 0, 0], ys, 1e-6)


def test_mistakes_on_the_way_out():
    def draw(cell):
        like = jax.eval_shape(cell.init, jax.random.key(0), jnp.ones(D))
        return random_like(np.random.default_rng(0), like)

    lstm, gru = draw(rx.lstm(H)), draw(rx.gru(H))
    for params, options, error, words in [
        (draw(rx.dense(H)), {}, TypeError, "ONNX has no operator"),
        (draw(rx.lstm_1997(H)), {}, ValueError, "input_forget: expected 1 for params of"),
        (lstm, {"input_forget": 1}, ValueError, "and 0 for others"),
        (lstm, {"activations": ["Relu"]}, ValueError, "of an rx.elman"),
        (draw(rx.elman(H)), {"activations": ["Relu"] * 2}, ValueError, "one a direction"),
        (rx.Bidirectional(lstm, gru), {}, ValueError, "must be alike"),
        (rx.Bidirectional(lstm, draw(rx.lstm(4))), {}, ValueError, "must be alike"),
        (draw(rx.greff_lstm(H, full_gate_recurrence=True)), {}, TypeError, "of GatedLSTMParams"),
    ]:
        with pytest.raises(error, match=words):
            interop.to_operator(params, **options)
