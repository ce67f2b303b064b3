"""How a cell is computed, chosen layer by layer: the program is that of `unroll`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.support import x64

T, D, H = 6, 3, 4
XS = np.random.default_rng(0).normal(size=(T, D))
OPTIONS = [
    {"reverse": True},
    {"checkpoint": "sqrt"},
    {"checkpoint": 2},
    {"precision": "BF16_BF16_F32"},
    {"method": "associative"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"{options}")
def test_options_are_those_of_unroll(options):
    cell = rx.min_gru(H)
    params = cell.init(jax.random.key(0), XS[0])
    model = rx.as_model(cell, **options)

    def program(run):
        def loss(params, xs, length):
            state, ys = run(params, xs, length)
            return jnp.sum(ys) + jnp.sum(state)

        return str(jax.make_jaxpr(jax.grad(loss))(params, XS, 4))

    found = program(lambda params, xs, length: model.apply(params, xs, length=length))
    assert found == program(
        lambda params, xs, length: rx.unroll(cell, params, xs, length=length, **options)
    )
    assert found != program(lambda params, xs, length: rx.unroll(cell, params, xs, length=length))


@x64()
def test_a_network_whose_layers_are_computed_in_different_ways():
    plain = rx.serial(
        rx.min_gru(H), rx.bidirectional(rx.lstm(H), rx.gru(H)), rx.reverse(rx.elman(H))
    )
    chosen = rx.serial(
        rx.as_model(rx.min_gru(H), method="associative"),
        rx.bidirectional(rx.as_model(rx.lstm(H), checkpoint="sqrt"), rx.gru(H)),
        rx.reverse(rx.as_model(rx.elman(H), checkpoint=3)),
    )
    assert repr(chosen) == repr(plain)
    params = plain.init(jax.random.key(1), jnp.asarray(XS))

    @jax.jit
    def both(params, xs):
        def loss(model, params):
            state, ys = model.apply(params, xs, length=5)
            return jnp.sum(jnp.sin(ys)) + sum(map(jnp.sum, jax.tree.leaves(state)))

        return [jax.value_and_grad(lambda p, m=m: loss(m, p))(params) for m in (plain, chosen)]

    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12),
        *both(params, jnp.asarray(XS)),
    )


def test_a_model_takes_no_options():
    model = rx.serial(rx.lstm(H))
    assert rx.as_model(model) is model
    with pytest.raises(TypeError, match="checkpoint, method is how a cell is unrolled"):
        rx.as_model(model, checkpoint="sqrt", method="associative")
    with pytest.raises(TypeError, match=r"reverse is how .*; rx.reverse turns a model round"):
        rx.as_model(model, reverse=True)
    with pytest.raises(TypeError, match="cell"):
        rx.as_model(3)
