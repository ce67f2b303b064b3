"""What single cells promise beyond the contract: conventions, biases, and parity with peers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.support import x64

X = jnp.array([0.3, -0.2])


@pytest.mark.parametrize(("reset_after", "keeps"), [(True, 1), (False, -1)])
def test_which_way_the_update_gate_turns(reset_after, keeps):
    """z = 1 keeps the state in cuDNN's form and replaces it in the texts'."""
    cell = rx.gru(3, reset_after=reset_after)
    params = cell.init(jax.random.key(0), X)
    h = jnp.array([0.5, -0.7, 0.9])
    for sign in (1, -1):
        saturated = params._replace(b=params.b.at[3:6].set(50.0 * sign))
        kept = np.allclose(cell.step(saturated, h, X)[0], h, atol=1e-6)
        assert kept == (sign == keeps)


def test_the_two_forms_of_the_gru_agree_where_the_reset_gate_is_open():
    """With r = 1 and no extra bias only the sign of z tells them apart."""
    after, before = rx.gru(3), rx.gru(3, reset_after=False)
    params = before.init(jax.random.key(1), X)
    params = params._replace(b=params.b.at[:3].set(50.0))
    negated = params._replace(
        w_x=params.w_x.at[:, 3:6].multiply(-1),
        w_h=params.w_h.at[:, 3:6].multiply(-1),
        b=params.b.at[3:6].multiply(-1),
        b_hn=jnp.zeros(3),
    )
    h = jnp.array([0.5, -0.7, 0.9])
    np.testing.assert_allclose(
        after.step(negated, h, X)[0], before.step(params, h, X)[0], rtol=1e-5
    )


def test_forget_bias_is_the_second_quarter():
    for value in (1.0, -2.5):
        params = rx.lstm(3, forget_bias=value).init(jax.random.key(0), X)
        np.testing.assert_array_equal(params.b, np.repeat([0, value, 0, 0], 3))
    assert rx.lstm(2).init(jax.random.key(0), X).b[2] == 1


def test_irnn_adds_up():
    """An identity recurrence with ReLU sums its non-negative inputs (Le et al., 2015)."""

    def eye(key, shape, dtype):
        return jnp.eye(*shape, dtype=dtype)

    cell = rx.elman(2, activation=jax.nn.relu, w_x_init=eye, w_h_init=eye)
    xs = jnp.arange(8.0).reshape(4, 2)
    params = cell.init(jax.random.key(0), xs[0])
    np.testing.assert_array_equal(rx.unroll(cell, params, xs)[1], np.cumsum(xs, 0))


def reorder(matrix, order):
    """The gate blocks of the last axis in another order."""
    blocks = np.split(np.asarray(matrix), len(order), axis=-1)
    return np.concatenate([blocks[n] for n in order], axis=-1)


def random_params(cell, width):
    rng = np.random.default_rng(0)
    with x64():
        shapes = jax.eval_shape(
            cell.init, jax.random.key(0), jax.ShapeDtypeStruct((width,), "float64")
        )
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes), rng


def outputs(cell, params, xs):
    with x64():
        return np.asarray(rx.unroll(cell, params, xs)[1])


def test_lstm_is_flax_and_equinox():
    """Live: the same weights, in the peers' own layouts."""
    nn = pytest.importorskip("flax.linen")
    eqx = pytest.importorskip("equinox")
    cell = rx.lstm(3)
    params, rng = random_params(cell, 2)
    xs = rng.normal(size=(4, 2))
    expected = outputs(cell, params, xs)
    dense = {}
    for n, gate in enumerate("ifgo"):
        part = slice(3 * n, 3 * n + 3)
        dense[f"i{gate}"] = {"kernel": params.w_x[:, part]}
        dense[f"h{gate}"] = {"kernel": params.w_h[:, part], "bias": params.b[part]}
    with x64():
        peer = nn.OptimizedLSTMCell(3, param_dtype="float64")
        ours = eqx.nn.LSTMCell(2, 3, key=jax.random.key(0))
        where = lambda c: (c.weight_ih, c.weight_hh, c.bias)  # noqa: E731
        ours = eqx.tree_at(where, ours, (params.w_x.T, params.w_h.T, params.b))
        carry = state = (jnp.zeros(3), jnp.zeros(3))
        for x, y in zip(xs, expected, strict=True):
            carry, from_flax = peer.apply({"params": dense}, carry, x)
            state = ours(jnp.asarray(x), state)
            np.testing.assert_allclose(from_flax, y, rtol=1e-12)
            np.testing.assert_allclose(state[0], y, rtol=1e-12)


def test_gru_is_flax_in_cudnn_form_and_haiku_in_the_texts_form():
    nn = pytest.importorskip("flax.linen")
    hk = pytest.importorskip("haiku")
    after, before = rx.gru(3), rx.gru(3, reset_after=False)
    params, rng = random_params(after, 2)
    xs = rng.normal(size=(4, 2))
    expected = outputs(after, params, xs), outputs(before, params._replace(b_hn=None), xs)
    r, z, n = (slice(3 * k, 3 * k + 3) for k in range(3))
    dense = {
        f"i{g}": {"kernel": params.w_x[:, s], "bias": params.b[s]}
        for g, s in zip("rzn", (r, z, n), strict=True)
    }
    dense |= {f"h{g}": {"kernel": params.w_h[:, s]} for g, s in zip("rz", (r, z), strict=True)}
    dense["hn"] = {"kernel": params.w_h[:, n], "bias": params.b_hn}
    order = [1, 0, 2]  # haiku: z, r, n
    haiku = {
        "gru": {
            "w_i": reorder(params.w_x, order),
            "w_h": reorder(params.w_h, order),
            "b": reorder(params.b, order),
        }
    }
    with x64():
        peer = nn.GRUCell(3, param_dtype="float64")
        other = hk.without_apply_rng(hk.transform(lambda x, h: hk.GRU(3, name="gru")(x, h)[0]))
        carry, h = jnp.zeros(3), jnp.zeros(3)
        for x, y_after, y_before in zip(xs, *expected, strict=True):
            carry, _ = peer.apply({"params": dense}, carry, x)
            h = other.apply(haiku, jnp.asarray(x), h)
            np.testing.assert_allclose(carry, y_after, rtol=1e-12)
            np.testing.assert_allclose(h, y_before, rtol=1e-12)
