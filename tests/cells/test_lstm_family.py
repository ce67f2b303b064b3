"""What the LSTMs promise beyond the contract: switches, starting biases, products, parity."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.entries_lstm import coupled, lstm_1997, variant
from tests.cells.entry import sigmoid
from tests.cells.following import assert_follows, noisy

ABLATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vanilla": ({}, {}),
    "NIG": ({"input_gate": False}, {"blocks": "fgo"}),
    "NFG": ({"forget_gate": False}, {"blocks": "igo"}),
    "NOG": ({"output_gate": False}, {"blocks": "ifg"}),
    "NIAF": ({"input_activation": False}, {"g": lambda z: z}),
    "NOAF": ({"output_activation": False}, {"out": lambda z: z}),
    "CIFG": ({"coupled": True}, {"blocks": "igo", "coupled": True}),
    "NP": ({"peepholes": False}, {}),
    "FGR": ({"full_gate_recurrence": True}, {}),
    "FGR without f": ({"full_gate_recurrence": True, "forget_gate": False}, {"blocks": "igo"}),
    "FGR and CIFG": (
        {"full_gate_recurrence": True, "coupled": True},
        {"blocks": "igo", "coupled": True},
    ),
    "no gate": (
        {"input_gate": False, "forget_gate": False, "output_gate": False},
        {"blocks": "g"},
    ),
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablations_are_their_equations(ablation):
    switches, equations = ABLATIONS[ablation]
    cell = rx.greff_lstm(3, **switches)
    assert_follows(cell, functools.partial(variant, **equations), (2,))
    for switch, value in switches.items():
        assert f"{switch}={value}" in repr(cell)


def test_ablations_have_only_the_weights_that_they_use():
    x = jnp.ones(2)
    widths = {"input_gate": 9, "forget_gate": 9, "output_gate": 9, "peepholes": 12}
    for switch, width in widths.items():
        off: Any = {switch: False}
        params = rx.greff_lstm(3, **off).init(jax.random.key(0), x)
        assert params.w_x.shape == (2, width)
        assert params.w_h.shape == (3, width)
        gone = {"input_gate": "p_i", "forget_gate": "p_f", "output_gate": "p_o"}.get(switch)
        for p in ("p_i", "p_f", "p_o"):
            assert (getattr(params, p) is None) == (switch == "peepholes" or p == gone)


@pytest.mark.parametrize("reference", [lstm_1997, coupled, variant])
def test_named_variants_are_greffs(reference):
    """The 1997 cell with tanh, CIFG and the peephole LSTM are switches of one equation."""
    named, switched = {
        lstm_1997: (None, rx.greff_lstm(3, forget_gate=False, peepholes=False)),
        coupled: (rx.coupled_lstm(3), rx.greff_lstm(3, coupled=True, peepholes=False)),
        variant: (rx.peephole_lstm(3), rx.greff_lstm(3)),
    }[reference]
    x = jnp.ones(2)
    if named is None:  # its two functions differ: g -> 2g and c -> c/2 turn one into the other
        named = rx.lstm_1997(3)
        params = noisy(switched, x)
        halved = params._replace(
            w_x=params.w_x * np.repeat([1, 2, 1], 3),
            w_h=params.w_h * np.repeat([1, 2, 1], 3),
            b=params.b * np.repeat([1, 2, 1], 3),
        )
        c = jnp.array([0.4, -0.3, 0.8])
        h = jnp.array([0.1, 0.5, -0.2])
        state, _ = named.step(halved, rx.LSTMState(2 * c, h), x)
        expected, _ = switched.step(params, rx.LSTMState(c, h), x)
        np.testing.assert_allclose(state.c / 2, expected.c, rtol=1e-5)
        np.testing.assert_allclose(state.h, expected.h, rtol=1e-5)
        return
    for a, b in zip(
        jax.tree.leaves(named.init(jax.random.key(1), x)),
        jax.tree.leaves(switched.init(jax.random.key(1), x)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    params = noisy(named, x)
    state = rx.LSTMState(jnp.array([0.4, -0.3, 0.8]), jnp.array([0.1, 0.5, -0.2]))
    for a, b in zip(
        jax.tree.leaves(named.step(params, state, x)),
        jax.tree.leaves(switched.step(params, state, x)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_without_peepholes_it_is_the_standard_lstm():
    x, plain = jnp.array([0.3, -0.7]), rx.lstm(3)
    params = noisy(plain, x)
    state = rx.LSTMState(jnp.array([0.4, -0.3, 0.8]), jnp.array([0.1, 0.5, -0.2]))
    expected, _ = plain.step(params, state, x)
    for cell in (rx.peephole_lstm(3, ()), rx.greff_lstm(3, peepholes=False)):
        got, _ = cell.step(rx.GatedLSTMParams(*params), state, x)
        np.testing.assert_allclose(got.c, expected.c, rtol=1e-6)
        np.testing.assert_allclose(got.h, expected.h, rtol=1e-6)
    deep = rx.depth_gated_lstm(3, 1)
    zeros = jnp.zeros(3)
    layer = rx.DepthGatedLSTMParams(
        params.w_x, params.w_h, params.b, zeros, zeros, zeros, p_d=None, p_l=None
    )
    (got,), _ = deep.step((layer,), (state,), x)
    np.testing.assert_allclose(got.h, expected.h, rtol=1e-6)


@pytest.mark.parametrize("peepholes", [(), ("i",), ("o",), ("f", "i"), ("i", "o"), ("f", "o")])
def test_each_peephole_is_on_or_off_alone(peepholes):
    """With the registry's ("f",) and all three, every subset."""
    cell = rx.peephole_lstm(3, peepholes)
    params = cell.init(jax.random.key(0), jnp.ones(2))
    assert [k for k in "ifo" if getattr(params, f"p_{k}") is not None] == sorted(
        peepholes, key="ifo".index
    )
    assert_follows(cell, variant, (2,))


def test_the_output_gate_sees_the_new_cell_state():
    """c_t is 0 where f and i are shut, so that p_o, however large, changes nothing."""
    cell, x = rx.peephole_lstm(3, ("o",)), jnp.ones(2)
    params = cell.init(jax.random.key(0), x)
    state = rx.LSTMState(jnp.ones(3), jnp.zeros(3))
    shut = params._replace(b=jnp.repeat(jnp.array([-200.0, -200.0, 0.0, 0.0]), 3))
    shut = shut._replace(w_x=0 * params.w_x)
    after, _ = cell.step(shut._replace(p_o=jnp.full(3, 9.0)), state, x)
    np.testing.assert_array_equal(after.c, 0)
    kept = shut._replace(b=jnp.repeat(jnp.array([-200.0, 200.0, 0.0, 0.0]), 3))
    for p_o in (0.0, 2.0):
        _, y = cell.step(kept._replace(p_o=jnp.full(3, p_o)), state, x)
        np.testing.assert_allclose(y, sigmoid(p_o) * np.tanh(1.0), rtol=1e-6)


def test_what_contradicts_itself_is_an_error():
    contradictions: list[tuple[dict[str, Any], str]] = [
        ({"coupled": True, "forget_gate": False}, "both gates must be there"),
        ({"coupled": True, "input_gate": False}, "both gates must be there"),
        (
            {
                "input_gate": False,
                "forget_gate": False,
                "output_gate": False,
                "full_gate_recurrence": True,
            },
            "full_gate_recurrence needs a gate",
        ),
    ]
    for switches, message in contradictions:
        with pytest.raises(ValueError, match=message):
            rx.greff_lstm(3, **switches)
    with pytest.raises(TypeError, match="input_activation must be a bool, got 'tanh'"):
        rx.greff_lstm(3, input_activation="tanh")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"peepholes must be of 'i', 'f' and 'o', got \('g',\)"):
        rx.peephole_lstm(3, ("g",))
    with pytest.raises(TypeError, match="peepholes must be a tuple of gates, got 'ifo'"):
        rx.peephole_lstm(3, "ifo")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"lstm\(3\): forget_bias must be a number or an init"):
        rx.lstm(3, forget_bias="chrono")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"projection must be an int, got 1\.5"):
        rx.projected_lstm(3, 1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        rx.depth_gated_lstm(3, 0)
    with pytest.raises(ValueError, match="epsilon must be a number > 0"):
        rx.layer_norm_lstm(3, epsilon=0.0)


def test_params_of_another_variant_are_an_error():
    x, key = jnp.ones(2), jax.random.key(0)
    vanilla, bare = rx.peephole_lstm(3), rx.peephole_lstm(3, ())
    for cell, other in [(vanilla, bare), (bare, vanilla)]:
        with pytest.raises(ValueError, match=r"params\.p_i must be .*another variant"):
            cell.initial_state(other.init(key, x))
    params = vanilla.init(key, x)._replace(p_f=jnp.ones(4))
    with pytest.raises(ValueError, match=r"params\.p_f must have shape \(3,\), got \(4,\)"):
        vanilla.initial_state(params)
    image = jnp.ones((4, 2))
    seeing, blind = rx.conv_lstm(3, (4,)), rx.conv_lstm(3, (4,), peepholes=())
    for cell, other in [(seeing, blind), (blind, seeing)]:
        with pytest.raises(ValueError, match=r"params\.p_i must be .*another variant"):
            cell.initial_state(other.init(key, image))
    deep = rx.depth_gated_lstm(3, 2)
    first, second = deep.init(key, x)
    with pytest.raises(ValueError, match=r"params\[1\]: p_d and p_l must be arrays, got"):
        deep.initial_state((first, second._replace(p_l=None)))
    with pytest.raises(TypeError, match="a tuple of 2, one entry a layer, got 1"):
        deep.initial_state(deep.init(key, x)[:1])


def starting_biases(make, forget_bias):
    """b_i and b_f of a cell's own params, [H] each."""
    params = make(forget_bias).init(jax.random.key(3), jnp.ones(2))
    layers = params if isinstance(params[0], tuple) else (params,)
    return [np.split(np.asarray(p.b), len(p.b) // 8)[:2] for p in layers]


@pytest.mark.parametrize(
    "make",
    [
        lambda b: rx.lstm(8, forget_bias=b),
        lambda b: rx.peephole_lstm(8, forget_bias=b),
        lambda b: rx.greff_lstm(8, forget_bias=b),
        lambda b: rx.projected_lstm(8, 2, forget_bias=b),
        lambda b: rx.layer_norm_lstm(8, forget_bias=b),
        lambda b: rx.depth_gated_lstm(8, 2, forget_bias=b),
    ],
)
def test_forget_bias_is_a_number_or_drawn(make):
    for b_i, b_f in starting_biases(make, -2.5):
        np.testing.assert_array_equal(b_i, 0)
        np.testing.assert_array_equal(b_f, -2.5)
    for b_i, b_f in starting_biases(make, rx.initializers.chrono(100)):
        np.testing.assert_array_equal(b_i, -b_f)
        assert len(set(b_f)) == 8, "each unit has its own time"
        assert (b_f >= 0).all()
        assert (b_f <= np.log(99)).all()


def test_coupled_gates_start_with_the_forget_bias_turned_round():
    params = rx.coupled_lstm(8, forget_bias=2.0).init(jax.random.key(0), jnp.ones(2))
    np.testing.assert_array_equal(params.b, np.repeat([-2.0, 0, 0], 8))
    drawn = rx.coupled_lstm(8, forget_bias=rx.initializers.chrono(50))
    b_i = drawn.init(jax.random.key(0), jnp.ones(2)).b[:8]
    assert (b_i <= 0).all()
    assert len(set(np.asarray(b_i))) == 8


PRODUCTS = [
    (rx.lstm_1997(4), (3,), 1),
    (rx.peephole_lstm(4), (3,), 1),
    (rx.coupled_lstm(4), (3,), 1),
    (rx.greff_lstm(4), (3,), 1),
    (rx.greff_lstm(4, full_gate_recurrence=True), (3,), 2),
    (rx.projected_lstm(4, 2), (3,), 2),
    (rx.layer_norm_lstm(4), (3,), 1),
    (rx.depth_gated_lstm(4, 1), (3,), 1),
    (rx.depth_gated_lstm(4, 3), (3,), 5),
    (rx.conv_lstm(4, (5,)), (5, 3), 1),
    (rx.conv_lstm(4, (4, 3), peepholes=()), (4, 3, 2), 1),
    (rx.conv_gru(4, (5,)), (5, 3), 2),
    (rx.slstm(4), (3,), 1),
    (rx.slstm(4, heads=2), (3,), 1),
]


@pytest.mark.parametrize(("cell", "shape", "products"), PRODUCTS, ids=lambda v: str(v))
def test_products_left_in_the_loop(cell, shape, products):
    """As documented, forward and backward: the least."""
    params = cell.init(jax.random.key(0), jnp.ones(shape))
    state = cell.initial_state(params)
    report = rx.scan_report(lambda s, x: cell.step(params, s, x), state, jnp.ones((5, *shape)))
    assert report.backward is not None
    assert (report.forward.left, report.backward.left) == (products, products)
