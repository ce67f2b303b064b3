"""What the convolutional cells promise beyond the contract: every dimension, parity, errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.entries_conv import conv_gru, conv_lstm
from tests.cells.following import assert_follows, noisy
from tests.support import x64


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_in_every_dimension(axes):
    shape, kernel = (4, 3, 2)[:axes], (3, 2, 1)[:axes]
    some = ("i", "f", "o")[axes - 1 :]
    assert_follows(rx.conv_lstm(2, shape, kernel, peepholes=some), conv_lstm, (*shape, 3), 2)
    assert_follows(rx.conv_gru(2, shape, kernel), conv_gru, (*shape, 3), 2)


def test_a_convolution_over_one_place_is_the_dense_cell():
    """With a kernel of 1 on a grid of 1 the weights are matrices."""
    x = jnp.array([0.3, -0.7])
    for conv, dense in [
        (rx.conv_lstm(3, (1, 1), 1, peepholes=()), rx.lstm(3)),
        (rx.conv_gru(3, (1, 1), 1), rx.gru(3, reset_after=False)),
    ]:
        params = noisy(dense, x)
        there = conv.init(jax.random.key(0), x[None, None])
        as_filters = there._replace(
            w_x=params.w_x[None, None], w_h=params.w_h[None, None], b=params.b
        )
        _, expected = rx.unroll(dense, params, jnp.stack([x, -x, 2 * x]))
        _, ys = rx.unroll(conv, as_filters, jnp.stack([x, -x, 2 * x])[:, None, None])
        np.testing.assert_allclose(ys[:, 0, 0], expected, rtol=1e-5)


def test_conv_lstm_is_flax():
    """Live; flax has no peepholes, the gate order i, g, f, o, and adds 1 to f."""
    nn = pytest.importorskip("flax.linen")
    cell = rx.conv_lstm(2, (4, 3), peepholes=())
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(3, 4, 3, 2))
    with x64():
        params = noisy(cell, jnp.asarray(xs[0]))
        _, expected = rx.unroll(cell, params, jnp.asarray(xs))

        def reorder(leaf):
            i, f, g, o = np.split(np.asarray(leaf), 4, axis=-1)
            return np.concatenate([i, g, f, o], axis=-1)

        b = reorder(params.b - np.repeat([0, 1, 0, 0], 2))
        weights = {
            "ih": {"kernel": reorder(params.w_x), "bias": b},
            "hh": {"kernel": reorder(params.w_h), "bias": np.zeros_like(b)},
        }
        peer = nn.ConvLSTMCell(2, (3, 3), param_dtype="float64")
        carry = (jnp.zeros((4, 3, 2)), jnp.zeros((4, 3, 2)))
        for x, y in zip(xs, expected, strict=True):
            carry, from_flax = peer.apply({"params": weights}, carry, jnp.asarray(x))
            np.testing.assert_allclose(from_flax, y, rtol=1e-11, atol=1e-13)


def test_conv_arguments_are_named():
    for arguments, error, message in [
        ((0, (3,)), ValueError, "features must be at least 1, got 0"),
        ((2, 3), TypeError, "shape must be a tuple of 1, 2 or 3 extents, got 3"),
        ((2, ()), TypeError, r"shape must be a tuple of 1, 2 or 3 extents, got \(\)"),
        ((2, (3, 3, 3, 3)), TypeError, "shape must be a tuple of 1, 2 or 3 extents"),
        ((2, (3, 0)), ValueError, "each extent of shape must be at least 1, got 0"),
        ((2, (3, 3), (3,)), ValueError, r"kernel must have 2 extents, as shape, got \(3,\)"),
        ((2, (3, 3), 0), ValueError, "each extent of kernel must be at least 1, got 0"),
        ((2, (3, 3), 1.5), TypeError, r"each extent of kernel must be an int, got 1\.5"),
    ]:
        for make in (rx.conv_lstm, rx.conv_gru):
            with pytest.raises(error, match=message):
                make(*arguments)
    for make in (rx.conv_lstm, rx.conv_gru):
        cell = make(2, (4, 3))
        with pytest.raises(ValueError, match=r"x must be of one example, of shape \[4, 3, D\]"):
            cell.init(jax.random.key(0), jnp.ones((7, 4, 3, 5)))
        with pytest.raises(ValueError, match=r"of shape \(4, 3, 5\), got shape \(3, 4, 5\)"):
            cell.init(jax.random.key(0), jnp.ones((3, 4, 5)))
        params = cell.init(jax.random.key(0), jnp.ones((4, 3, 5)))
        state = cell.initial_state(params)
        for shape in [(4, 3, 6), (3, 4, 5), (2, 4, 3, 5)]:
            with pytest.raises(ValueError, match=r"x must be one step .*\(4, 3, 5\), got shape"):
                cell.step(params, state, jnp.ones(shape))
        with pytest.raises(TypeError, match="x must be floating, got int32"):
            cell.step(params, state, jnp.ones((4, 3, 5), jnp.int32))
        with pytest.raises(TypeError, match=r"params must be .*, got dict"):
            cell.initial_state({})
    params = rx.conv_lstm(2, (5, 3)).init(jax.random.key(0), jnp.ones((5, 3, 5)))
    with pytest.raises(ValueError, match=r"params\.p_i must have shape \(4, 3, 2\), got"):
        rx.conv_lstm(2, (4, 3)).initial_state(params)
