"""Masks that last a sequence: on weights, on rows of them, on the state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells import registry
from tests.cells.harness import assert_close, assert_same_bits, random_like, to_numpy
from tests.support import x64

KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(6, 3))


def random_params(cell, seed=0):
    with x64():
        shapes = jax.eval_shape(cell.init, KEY, jax.ShapeDtypeStruct((3,), "float64"))
    return random_like(np.random.default_rng(seed), shapes)


def loop(step, params, state, mask: Any = 1.0):
    """`step` over XS, the entering state times `mask`, with NumPy."""
    ys = []
    for x in XS:
        state, y = step(params, jax.tree.map(np.multiply, state, mask), x)
        ys.append(y)
    return state, np.stack(ys)


def test_drop_weights_drops_what_is_named():
    """Elements at the rate, the kept ones scaled; rows whole; the rest to the bit."""
    params = rx.lstm(50).init(KEY, jnp.ones(3))
    params = params._replace(w_h=1 + jnp.abs(params.w_h))
    dropped = rx.drop_weights(KEY, params, 0.3)
    kept = np.asarray(dropped.w_h) != 0
    assert abs(kept.mean() - 0.7) < 5 * (0.21 / kept.size) ** 0.5
    assert len({column.tobytes() for column in kept.T}) == 200, "elements, not rows"
    np.testing.assert_allclose(dropped.w_h, np.where(kept, params.w_h / 0.7, 0), rtol=1e-6)
    assert_same_bits((dropped.w_x, dropped.b), (params.w_x, params.b))
    rows = np.asarray(rx.drop_weights(KEY, params, 0.3, rows=True).w_h) != 0
    assert (rows == rows[:, :1]).all()
    assert 0.4 < rows[:, 0].mean() < 0.95
    both = rx.drop_weights(KEY, params, 0.3, ["w_x", "b"], rows=True)
    assert_same_bits(both.w_h, params.w_h)
    assert len({column.tobytes() for column in np.asarray(both.w_x == 0).T}) == 1
    assert 0 < (np.asarray(both.b) != params.b).mean() < 1, "of a vector, elements"
    assert_same_bits(rx.drop_weights(None, params, 0.3), params)


def test_drop_weights_draws_for_each_leaf():
    params = rx.Bidirectional({"w_h": jnp.ones((30, 30))}, {"w_h": jnp.ones((30, 30))})
    forward, backward = jax.tree.leaves(rx.drop_weights(KEY, params, 0.5, "w_h"))
    assert 0.4 < (np.asarray(forward) != backward).mean() < 0.6


@x64()
@pytest.mark.parametrize("kind", [rx.weight_dropout, rx.recurrent_dropout])
@pytest.mark.parametrize("reset_after", [True, False])
def test_weights_are_masked_once_a_sequence(kind, reset_after):
    """The loop over the reference cell with weights masked beforehand; gradients see the mask."""
    cell = rx.gru(4, reset_after=reset_after)
    model, params = kind(cell, 0.5), random_params(cell)

    def loss(params):
        state, ys = model.apply(params, XS, key=KEY)
        return (ys**2).sum(), (state, ys)

    (_, got), gradient = to_numpy(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    ones = params._replace(w_h=np.ones_like(params.w_h))
    mask_key, _ = jax.random.split(KEY)
    mask = np.asarray(rx.drop_weights(mask_key, ones, 0.5, rows=kind is rx.recurrent_dropout).w_h)
    assert set(np.unique(mask)) == {0.0, 2.0}
    step = registry.gru_after if reset_after else registry.gru_before
    assert_close(got, loop(step, params._replace(w_h=params.w_h * mask), np.zeros(4)))
    assert gradient.w_h[mask != 0].any()
    assert not gradient.w_h[mask == 0].any()


@x64()
def test_recurrent_dropout_masks_what_enters_the_products():
    """Gal and Ghahramani's equation on a GRU: (m * h) in every product, h itself carried over."""
    cell = rx.gru(4)
    params = random_params(cell)
    ones = params._replace(w_h=np.ones((4, 12)))
    mask_key, _ = jax.random.split(KEY)
    m = np.asarray(rx.drop_weights(mask_key, ones, 0.5, rows=True).w_h)[:, 0]
    h, expected = np.zeros(4), []
    for x in XS:
        x_r, x_z, x_n = np.split(x @ params.w_x + params.b, 3)
        h_r, h_z, h_n = np.split((m * h) @ params.w_h, 3)
        r, z = registry.sigmoid(x_r + h_r), registry.sigmoid(x_z + h_z)
        h = z * h + (1 - z) * np.tanh(x_n + r * (h_n + params.b_hn))
        expected.append(h)
    got = rx.recurrent_dropout(cell, 0.5).apply(params, XS, key=KEY)
    assert_close(got, (h, np.stack(expected)))


@x64()
@pytest.mark.parametrize(
    ("rate", "masked"),
    [({"h": 0.5}, "h"), ({"c": 0.5}, "c"), (0.5, "ch"), (rx.LSTMState._make([0.5, 0.0]), "c")],
)
def test_state_dropout_is_one_mask(rate, masked):
    """The masks, seen by a cell that shows what enters it; a NumPy loop with them at each step."""
    zeros = np.zeros(8)
    show = rx.Cell(
        lambda key, x: (),
        lambda params: rx.LSTMState._make([zeros, zeros]),
        lambda params, state, x: (state, state),
        name="show(8)",
    )
    ones = rx.LSTMState._make(np.ones((2, 8)))
    _, entered = rx.state_dropout(show, rate).apply((), XS, state=ones, key=KEY)
    masks = to_numpy(jax.tree.map(lambda leaf: leaf[0], entered))
    for name in "ch":
        mask = getattr(masks, name)
        assert set(mask) == ({0, 2} if name in masked else {1})
        # At step t the ones have been through the same mask t times.
        np.testing.assert_array_equal(getattr(entered, name), np.cumprod([mask] * len(XS), axis=0))
    params = random_params(rx.lstm(8))
    got = rx.state_dropout(rx.lstm(8), rate).apply(params, XS, key=KEY)
    assert_close(got, loop(registry.lstm, params, (zeros, zeros), tuple(masks)))


def test_without_a_key_is_the_layer():
    cell = rx.lstm(4)
    params, xs = jax.tree.map(jnp.float32, (random_params(cell), XS))
    expected = rx.unroll(cell, params, xs, length=4)
    for model in (
        rx.weight_dropout(cell, 0.5),
        rx.recurrent_dropout(cell, 0.5),
        rx.state_dropout(cell, 0.5),
    ):
        assert_same_bits(model.init(KEY, xs), cell.init(KEY, xs[0]))
        assert_same_bits(model.apply(params, xs, length=4), expected)


@pytest.mark.slow
def test_keys_differ_and_the_layers_own_key_is_another():
    cell = rx.zoneout(rx.lstm(4), 0.5)
    params, xs = jax.tree.map(jnp.float32, (random_params(cell), XS))
    for kind in (rx.weight_dropout, rx.recurrent_dropout, rx.state_dropout):
        one, two = (kind(cell, 0.5).apply(params, xs, key=jax.random.key(k)) for k in (1, 2))
        assert (one[1] != two[1]).any()
        assert_same_bits(one, kind(cell, 0.5).apply(params, xs, key=jax.random.key(1)))
        # At rate 0 the zoneout within still draws.
        assert (kind(cell, 0.0).apply(params, xs, key=KEY)[1] != one[1]).any()
        zoned = [kind(cell, 0.0).apply(params, xs, key=jax.random.key(k))[1] for k in (1, 2)]
        assert (zoned[0] != zoned[1]).any()


def test_errors_name_the_argument():
    cell = rx.lstm(4)
    params = cell.init(KEY, jnp.ones(3))
    for call, error, message in [
        (lambda: rx.weight_dropout(cell, 1.0), ValueError, r"weight_dropout: rate must lie in"),
        (lambda: rx.recurrent_dropout(cell, "1"), TypeError, "recurrent_dropout: rate must be a"),  # pyright: ignore
        (lambda: rx.state_dropout(cell, 2), ValueError, "state_dropout: rate must lie in .* got 2"),
        (lambda: rx.weight_dropout(3, 0.5), TypeError, "cell: expected an object"),
        (lambda: rx.drop_weights(KEY, params, -1), ValueError, "drop_weights: rate must lie in"),
        (
            lambda: rx.weight_dropout(cell, 0.5, "w").apply(params, jnp.ones((2, 3))),
            ValueError,
            r"names must be of fields of params, \['b', 'w_h', 'w_x'\], got \['w'\]",
        ),
        (
            lambda: rx.drop_weights(KEY, params, 0.5, ()),
            ValueError,
            r"names must be of fields .*, got \[\]",
        ),
        (lambda: rx.drop_weights(3, params, 0.5), TypeError, r"drop_weights: key must be one .* 3"),  # pyright: ignore
        (
            lambda: rx.state_dropout(cell, {"x": 0.5}).apply(params, jnp.ones((2, 3)), key=KEY),
            ValueError,
            r"no field of the state has the name \['x'\]",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
