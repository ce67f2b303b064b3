"""`interop.torch` against PyTorch: live where it is installed, else (and also) as it was stored."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.cells import LSTMState
from recurrax.compose import Bidirectional
from recurrax.interop import torch as interop
from tests.cells.harness import assert_close, random_like
from tests.interop.torch_vectors import CASES, LENGTHS, D, H, P, compute, module, stored
from tests.support import x64


def part(vectors, kind):
    prefix = f"{kind}/"
    return {k.removeprefix(prefix): v for k, v in vectors.items() if k.startswith(prefix)}


def read(case, state_dict, **options):
    if case.layer == "RNN":
        options["nonlinearity"] = case.options.get("nonlinearity", "tanh")
    return interop.from_state_dict(state_dict, **options)


def to_tree(case, h, c=None):
    """Torch's states [layers * directions, ...] as our tree."""
    states = list(h) if c is None else [LSTMState(*both) for both in zip(c, h, strict=True)]
    if case.directions == 1:
        return tuple(states)
    return tuple(Bidirectional(*states[n : n + 2]) for n in range(0, len(states), 2))


def from_tree(state):
    """The inverse: {"h": ...}, of an LSTM also "c"."""
    leaves = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, LSTMState))
    if not isinstance(leaves[0], LSTMState):
        return {"h": jnp.stack(leaves)}
    return {part: jnp.stack([getattr(s, part) for s in leaves]) for part in ("h", "c")}


def ours(case, weights, inputs):
    """Outputs and final states from torch's weights and torch's inputs, in torch's layout."""
    model, params = read(case, weights)
    states = {name: leaf for name, leaf in inputs.items() if name != "xs"}
    state, ys = jax.vmap(lambda xs, s, n: model.apply(params, xs, state=s, length=n))(
        inputs["xs"], to_tree(case, **states), LENGTHS
    )
    return {"xs": ys} | from_tree(state)


@pytest.mark.parametrize("source", ["stored", "live"])
@pytest.mark.parametrize("name", CASES)
@x64()
def test_outputs_states_and_gradients_are_torchs(name, source):
    case = CASES[name]
    if source == "live":
        pytest.importorskip("torch")
    vectors = stored(name) if source == "stored" else compute(case, seed=100)

    @jax.jit
    def number(weights, inputs):
        outputs = ours(case, weights, inputs)
        cotangents = part(vectors, "ct")
        return sum(jnp.vdot(cotangents[k], leaf) for k, leaf in outputs.items()), outputs

    gradients, outputs = jax.grad(number, (0, 1), has_aux=True)(
        part(vectors, "w"), part(vectors, "in")
    )
    expected = part(vectors, "out")
    assert set(outputs) == set(expected)
    for key, leaf in expected.items():
        assert_close(outputs[key], leaf)
    expected = part(vectors, "grad")
    got = gradients[0] | {f"in/{key}": leaf for key, leaf in gradients[1].items()}
    assert set(got) == set(expected)
    for key, leaf in expected.items():
        assert leaf.any(), f"{key}: nothing to compare"
        np.testing.assert_allclose(got[key], leaf, rtol=1e-11, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("name", CASES)
@x64()
def test_state_dict_out(name):
    """Our params become torch's names and shapes, and come back the same, to the last bit."""
    case = CASES[name]
    weights = part(stored(name), "w")
    _, like = read(case, weights)
    params = random_like(np.random.default_rng(0), like)
    bias = case.options.get("bias", True)
    if not bias:
        params = (params[0]._replace(b=np.zeros_like(params[0].b)),)
    written = interop.to_state_dict(params, bias=bias)
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in weights.items()}
    _, back = read(case, written)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert_close(back, params, 0)


@pytest.mark.parametrize("name", CASES)
@x64()
def test_torch_computes_with_our_params_what_we_do(name):
    torch = pytest.importorskip("torch")
    case = CASES[name]
    layer = module(case)
    model, like = interop.from_module(layer)
    rng = np.random.default_rng(1)
    params, xs = random_like(rng, like), rng.normal(size=(4, D))
    bias = case.options.get("bias", True)
    if not bias:
        params = (params[0]._replace(b=np.zeros_like(params[0].b)),)
    written = interop.to_state_dict(params, bias=bias)
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()})
    assert_close(model.apply(params, xs)[1], layer(torch.tensor(xs))[0].detach().numpy())


def test_a_prefix_chooses_and_is_put_back():
    weights = part(stored("gru_one_way"), "w")
    weights = {f"encoder.{k}": v.astype(np.float32) for k, v in weights.items()}
    other = weights | {"decoder.weight": np.ones(3)}
    model, params = interop.from_state_dict(other, prefix="encoder.")
    assert repr(model) == f"serial(gru({H}), gru({H}))"
    written = interop.to_state_dict(params, prefix="encoder.")
    assert {k: (v.shape, v.dtype) for k, v in written.items()} == {
        k: (v.shape, v.dtype) for k, v in weights.items()
    }


def test_dropout_lies_between_the_layers_and_leaves_the_weights_alone():
    weights = part(stored("gru_one_way"), "w")
    model, params = interop.from_state_dict(weights, dropout_rate=0.5)
    assert repr(model) == f"serial(gru({H}), dropout(0.5), gru({H}))"
    xs = jnp.ones((3, D))
    plain = interop.from_state_dict(weights)
    ys = plain[0].apply(plain[1], xs)[1]
    assert_close(model.apply(params, xs)[1], ys, 1e-6)
    assert not np.allclose(model.apply(params, xs, key=jax.random.key(0))[1], ys)
    assert set(interop.to_state_dict(params)) == set(weights)


def test_modules_say_their_nonlinearity_dropout_and_dtype():
    torch = pytest.importorskip("torch")
    model, params = interop.from_module(
        torch.nn.RNN(D, H, 2, nonlinearity="relu", dropout=0.25, dtype=torch.bfloat16)
    )
    assert repr(model) == f"serial(elman({H}), dropout(0.25), elman({H}))"
    assert params[0].w_x.dtype == jnp.bfloat16
    with pytest.raises(TypeError, match=r"nn\.LSTM or nn\.GRU, got Linear"):
        interop.from_module(torch.nn.Linear(2, 3))
    with pytest.raises(TypeError, match="got LSTMCell"):
        interop.from_module(torch.nn.LSTMCell(2, 3))
    own = type("LSTM", (torch.nn.LSTM,), {"__module__": "mine"})
    with pytest.raises(TypeError, match=r"of a class of torch itself, got mine\.LSTM"):
        interop.from_module(own(2, 3))


def of(name, **changes):
    """A state_dict with names changed; None leaves one out."""
    weights = part(stored(name), "w") | changes
    return {k: v for k, v in weights.items() if v is not None}


WRONG_WAYS_IN = {
    "missing": (of("lstm", weight_hh_l1=None), {}, ValueError, "weight_hh_l1 is missing"),
    "missing bias": (of("lstm", bias_hh_l0=None), {}, ValueError, "bias_hh_l0 is missing"),
    "empty": ({}, {}, ValueError, "weight_ih_l0 is missing"),
    "unknown": (of("lstm", extra=np.ones(3)), {}, ValueError, "'extra'"),
    "a layer skipped": (of("lstm", weight_ih_l1=None), {}, ValueError, "'bias_hh_l1'"),
    "half a direction": (
        of("lstm", weight_ih_l2_reverse=None), {}, ValueError, "weight_ih_l2_reverse is missing",
    ),
    "only a direction's input": (
        of("gru_one_way", weight_ih_l1_reverse=np.ones((9, 3))), {}, ValueError, "l1_reverse'",
    ),
    "width": (of("gru", weight_ih_l1=np.ones((9, 5))), {}, ValueError, r"\[any, 6\], got \(9, 5\)"),
    "rows": (of("gru", bias_ih_l0=np.ones(8)), {}, ValueError, r"bias_ih_l0: expected shape \[9\]"),
    "gates": (of("gru_one_way", weight_ih_l0=np.ones((6, 2)), weight_hh_l0=np.ones((6, 3))),
              {}, ValueError, "6 rows for H=3"),
    "rank": (of("gru", weight_hh_l0=np.ones(9)), {}, ValueError, r"\[9, any\], got \(9,\)"),
    "integers": (of("gru", weight_ih_l0=np.ones((9, 2), int)), {}, TypeError, "floats"),
    "which rnn": (of("rnn_tanh"), {}, ValueError, "nonlinearity: expected"),
    "no such rnn": (of("rnn_tanh"), {"nonlinearity": "elu"}, ValueError, "'elu'"),
    "no rnn": (of("gru"), {"nonlinearity": "tanh"}, ValueError, "3 gate"),
    "neither": (of("lstm"), {"nonlinearity": "elu"}, ValueError, "'elu' with 4 gate"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_WAYS_IN)
def test_mistakes_on_the_way_in(what):
    state_dict, options, error, words = WRONG_WAYS_IN[what]
    with pytest.raises(error, match=words):
        interop.from_state_dict(state_dict, **options)


def test_mistakes_on_the_way_out():
    def ones(cell, width=D):
        like = jax.eval_shape(cell.init, jax.random.key(0), jnp.ones(width))
        return jax.tree.map(lambda leaf: np.ones(leaf.shape), like)

    lstm, gru = ones(rx.lstm(H)), ones(rx.gru(H))
    above, wider = ones(rx.lstm(H), H), ones(rx.lstm(H + 1), H)
    for params, error, words in [
        (ones(rx.gru(H, reset_after=False)), ValueError, "reset_after=False"),
        (ones(rx.dense(H)), TypeError, "no layer for DenseParams"),
        ((lstm, wider), ValueError, "layers of one kind, width"),
        ((lstm, lstm), ValueError, "layer 1 takes 2 features, but the layer below gives 3"),
        (Bidirectional(lstm, gru), ValueError, "layers of one kind"),
        ((lstm, Bidirectional(above, above)), ValueError, "number of directions"),
        (((),), ValueError, "at least one layer"),
    ]:
        with pytest.raises(error, match=words):
            interop.to_state_dict(params)
    with pytest.raises(ValueError, match="layer 0 has biases that are not zero"):
        interop.to_state_dict(lstm, bias=False)
    assert interop.to_state_dict((lstm, above))["weight_ih_l1"].shape == (4 * H, H)
    assert P < H, "else a projection's widths would not tell"
