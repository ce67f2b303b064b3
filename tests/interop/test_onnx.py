"""`interop.onnx` against a loop written from the standard, and live against ONNX Runtime."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrax.interop import onnx as interop
from tests.cells.harness import assert_close
from tests.interop import onnx_loop
from tests.support import x64

T, D, H = 5, 2, 3
LENGTHS = np.array([5, 3, 1, 4], np.int32)
BATCH = len(LENGTHS)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
BOTH = {"direction": "bidirectional"}
BACK = {"direction": "reverse"}
GRU_OTHERS = {
    "activations": ["HardSigmoid", "Softsign", "Sigmoid", "ScaledTanh"],
    "activation_alpha": [0.3, 1.5],
    "activation_beta": [0.4, 0.7],
}
LSTM_OTHERS = {
    "activations": ["HardSigmoid", "Elu", "Softsign"],
    "activation_alpha": [0.25, 0.8],
    "activation_beta": [0.45],
}

CASES = {
    "rnn": ("RNN", {}, ""),
    "rnn_bare": ("RNN", BACK, "no B, no lengths, no state"),
    "rnn_both": ("RNN", BOTH, ""),
    "rnn_batch_first": ("RNN", BOTH | {"layout": 1}, ""),
    "rnn_others": (
        "RNN",
        BOTH | {"activations": ["LeakyRelu", "Affine"], "activation_alpha": [0.1, 0.9],
                "activation_beta": [0.2]},
        "",
    ),
    "rnn_clip": ("RNN", BOTH | {"clip": 0.6, "hidden_size": H}, ""),
    "gru": ("GRU", {}, ""),
    "gru_after": ("GRU", BOTH | {"linear_before_reset": 1}, ""),
    "gru_before": ("GRU", BOTH | {"linear_before_reset": 0}, ""),
    "gru_bare": ("GRU", BACK | {"linear_before_reset": 1}, "no B, no lengths, no state"),
    "gru_others": ("GRU", BOTH | GRU_OTHERS, ""),
    "gru_others_after": ("GRU", BOTH | GRU_OTHERS | {"linear_before_reset": 1}, ""),
    "gru_clip": ("GRU", BACK | {"clip": 0.5}, ""),
    "gru_clip_after": ("GRU", {"clip": 0.5, "linear_before_reset": 1, "layout": 1}, ""),
    "lstm": ("LSTM", {}, "no P"),
    "lstm_both": ("LSTM", BOTH, "no P"),
    "lstm_bare": ("LSTM", BACK, "no B, no lengths, no state, no P"),
    "lstm_peepholes": ("LSTM", BOTH, ""),
    "lstm_batch_first": ("LSTM", BOTH | {"layout": 1}, ""),
    "lstm_coupled": ("LSTM", BOTH | {"input_forget": 1}, "no P"),
    "lstm_coupled_peepholes": ("LSTM", {"input_forget": 1}, ""),
    "lstm_others": ("LSTM", BACK | LSTM_OTHERS, "no P"),
    "lstm_others_both": (
        "LSTM",
        BOTH | {"activations": LSTM_OTHERS["activations"] + ["Sigmoid", "Tanh", "Softplus"],
                "activation_alpha": [0.25, 0.8], "activation_beta": [0.45]},
        "",
    ),
    "lstm_clip": ("LSTM", BOTH | {"clip": 0.5}, ""),
    "lstm_all": ("LSTM", LSTM_OTHERS | {"clip": 0.5, "input_forget": 1}, ""),
}  # fmt: skip
"""The operator, its attributes, and the inputs that it does not get."""


def inputs_of(name):
    """The float inputs, drawn, and the lengths."""
    op_type, attributes, without = CASES[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    dirs = 2 if attributes.get("direction") == "bidirectional" else 1
    width = GATES[op_type] * H
    shapes = {
        "X": (T, BATCH, D),
        "W": (dirs, width, D),
        "R": (dirs, width, H),
        "B": (dirs, 2 * width),
        "initial_h": (dirs, BATCH, H),
        "initial_c": (dirs, BATCH, H),
        "P": (dirs, 3 * H),
    }
    if attributes.get("layout"):
        for key in ("X", "initial_h", "initial_c"):
            shapes[key] = (shapes[key][1], shapes[key][0], *shapes[key][2:])
    absent = {"initial_c", "P"} if op_type != "LSTM" else set()
    absent |= {key for key in ("B", "P") if f"no {key}" in without}
    absent |= {"initial_h", "initial_c"} if "no state" in without else set()
    inputs = {k: rng.normal(size=shape) for k, shape in shapes.items() if k not in absent}
    return inputs, {} if "no lengths" in without else {"sequence_lens": LENGTHS}


@pytest.mark.parametrize("name", CASES)
@x64()
def test_is_the_standards_equations(name):
    """Outputs, final states, and along a random direction the derivative by every input."""
    op_type, attributes, _ = CASES[name]
    inputs, lengths = inputs_of(name)
    slow = functools.partial(onnx_loop.run, op_type, **lengths, **attributes)
    expected = slow(**inputs)
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=leaf.shape) for leaf in expected]

    @functools.partial(jax.grad, has_aux=True)
    def number(inputs):
        outputs = interop.run(op_type, **inputs, **lengths, **attributes)
        return sum(jnp.vdot(a, b) for a, b in zip(cotangents, outputs, strict=True)), outputs

    gradients, outputs = jax.jit(number)(inputs)
    assert_close(outputs, expected)
    for key, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        values = [
            sum(np.vdot(a, b) for a, b in zip(cotangents, slow(**moved), strict=True))
            for moved in (inputs | {key: inputs[key] + s * 1e-5 * direction} for s in (1, -1))
        ]
        numeric = (values[0] - values[1]) / 2e-5
        assert abs(numeric) > 1e-4, f"{key}: nothing to compare"
        np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name][1].get("layout")])
def test_is_what_onnx_runtime_computes(name):
    """In float32, and without `layout`, which it has not."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    op_type, attributes, _ = CASES[name]
    inputs, lengths = inputs_of(name)
    arrays = {k: v.astype(np.float32) for k, v in inputs.items()} | lengths
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = [key if key in arrays else "" for key in (order if op_type == "LSTM" else order[:6])]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op_type == "LSTM" else 2]
    node = onnx.helper.make_node(op_type, names, outputs, **{"hidden_size": H, **attributes})

    def info(key, array=None):
        kind = onnx.TensorProto.INT32 if key == "sequence_lens" else onnx.TensorProto.FLOAT
        return onnx.helper.make_tensor_value_info(key, kind, None if array is None else array.shape)

    graph = onnx.helper.make_graph(
        [node], "one", [info(*item) for item in arrays.items()], [info(key) for key in outputs]
    )
    versions = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=10)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, arrays)
    assert_close(list(interop.run(op_type, **arrays, **attributes)), expected, 2e-6)


@pytest.mark.parametrize(
    "name", ["Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", *onnx_loop.ALPHA]
)
@x64()
def test_each_activation_by_its_name_in_any_case(name):
    """With the standard's defaults of alpha and beta."""
    X = np.linspace(-4, 4, 33)[:, None, None]
    W, R = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    expected = onnx_loop.run("RNN", X, W, R, activations=[name])
    assert_close(interop.run("RNN", X, W, R, activations=[name.lower()]), expected)


def test_length_zero_keeps_the_initial_state():
    inputs, _ = inputs_of("lstm")
    Y, Y_h, Y_c = interop.run("LSTM", **inputs, sequence_lens=np.array([0, 5, 0, 1]))
    assert not Y[:, :, 0].any()
    assert_close(
        (Y_h[0, 0], Y_c[0, 2]), (inputs["initial_h"][0, 0], inputs["initial_c"][0, 2]), 1e-6
    )
    assert Y[:, :, 1].any()


def test_what_becomes_which_cell():
    def made(name):
        inputs, _ = inputs_of(name)
        op_type, attributes, _ = CASES[name]
        arrays = {key: inputs[key] for key in ("W", "R", "B", "P") if key in inputs}
        attributes = {k: v for k, v in attributes.items() if k != "layout"}
        return repr({"RNN": interop.rnn, "GRU": interop.gru, "LSTM": interop.lstm}[op_type](
            **arrays, **attributes)[0])  # fmt: skip

    assert made("rnn") == "elman(3)"
    assert made("rnn_bare") == "reverse(elman(3))"
    assert made("gru_after") == "bidirectional(gru(3), gru(3))"
    assert made("gru") == "gru(3, reset_after=False)"
    assert made("gru_clip") == "reverse(operator_gru(3))"
    assert made("lstm") == "lstm(3)"
    assert made("lstm_peepholes") == "bidirectional(peephole_lstm(3), peephole_lstm(3))"
    assert made("lstm_coupled") == "bidirectional(coupled_lstm(3), coupled_lstm(3))"
    assert made("lstm_coupled_peepholes") == "operator_lstm(3)"


@pytest.mark.parametrize("name", ["gru_others", "lstm_all"])
def test_operators_own_cells_draw_params_that_run(name):
    """Its init makes what the operator's arrays make, in shapes and dtypes."""
    inputs, _ = inputs_of(name)
    op_type, attributes, _ = CASES[name]
    make = {"GRU": interop.gru, "LSTM": interop.lstm}[op_type]
    arrays = {k: inputs[k] for k in ("W", "R", "B", "P") if k in inputs}
    model, params = make(**arrays, **attributes)
    drawn = model.init(jax.random.key(0), jnp.ones((T, D)))
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    assert model.apply(drawn, jnp.ones((T, D)))[1].shape[0] == T


X, W, R = np.ones((T, 2, D)), np.ones((1, 4 * H, D)), np.ones((1, 4 * H, H))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"op_type": "Gru"}, ValueError, "op_type: expected one of"),
        ({"layout": 2}, ValueError, "layout: expected 0 or 1"),
        ({"direction": "both"}, ValueError, "direction: expected"),
        ({"direction": "bidirectional"}, ValueError, r"W: expected shape \(2, 12, 2\)"),
        ({"hidden_size": 4}, ValueError, "hidden_size: R is for 3, got 4"),
        ({"R": np.ones((1, 3 * H, H))}, ValueError, r"R: expected shape \(1, 12, 3\)"),
        ({"B": np.ones((1, 4 * H))}, ValueError, r"B: expected shape \(1, 24\)"),
        ({"P": np.ones((1, 4 * H))}, ValueError, r"P: expected shape \(1, 9\)"),
        ({"W": np.ones((4 * H, D))}, ValueError, r"expected \[directions, 4 H, D\]"),
        ({"W": np.ones((1, 4 * H, D), int)}, TypeError, "W: expected an array of floats"),
        ({"X": np.ones((T, D))}, ValueError, "X: expected three axes"),
        ({"initial_h": np.ones((2, 1, H))}, ValueError, r"initial_h: expected shape \(1, 2, 3\)"),
        ({"sequence_lens": np.ones(2)}, TypeError, "sequence_lens: expected integers"),
        ({"sequence_lens": np.array([1])}, ValueError, r"expected shape \[B=2\]"),
        ({"sequence_lens": np.array([1, T + 1])}, ValueError, "from 0 to 5"),
        ({"clip": 0.0}, ValueError, "clip: expected a positive bound"),
        ({"activations": ["Tanh"]}, ValueError, "expected 3 a direction"),
        ({"activations": ["Gelu", "Tanh", "Tanh"]}, ValueError, r"got \['Gelu'\]"),
        ({"activations": ["Affine", "Tanh", "Tanh"]}, ValueError, "have no default"),
        ({"activation_alpha": [0.1]}, ValueError, "one value for each activation that has one"),
        ({"linear_before_reset": 1}, TypeError, "linear_before_reset"),
        ({"output_sequence": 1}, TypeError, "output_sequence"),
    ],
)
def test_mistakes_on_the_way_in(changes, error, words):
    with pytest.raises(error, match=words):
        interop.run(**{"op_type": "LSTM", "X": X, "W": W, "R": R} | changes)


def test_inputs_of_the_lstm_alone():
    with pytest.raises(TypeError, match="initial_c and P"):
        interop.run("RNN", X, W, R, initial_c=np.ones((1, 2, H)))
