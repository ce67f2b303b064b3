"""Dropout: how much, how scaled, which mask, and that nothing happens without a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx

KEY = jax.random.key(0)
XS = jnp.linspace(1, 2, 400 * 50).reshape(400, 50)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_scale(rate):
    """The count of zeros within 5 standard deviations of the binomial; the kept ones scaled."""
    _, ys = rx.dropout(rate).apply((), XS, key=KEY)
    dropped = np.asarray(ys) == 0
    bound = 5 * (rate * (1 - rate) / dropped.size) ** 0.5
    assert abs(dropped.mean() - rate) < bound
    np.testing.assert_allclose(ys[~dropped], XS[~dropped] / (1 - rate), rtol=1e-6)
    assert (dropped.any(axis=1) != dropped.all(axis=1)).any(), "elements, not whole steps"
    assert len({row.tobytes() for row in dropped}) > 350, "a mask for each step"


def test_variational_is_one_mask_for_all_steps():
    _, ys = rx.dropout(0.5, variational=True).apply((), XS, key=KEY)
    dropped = np.asarray(ys) == 0
    assert (dropped == dropped[0]).all()
    assert 0.2 < dropped[0].mean() < 0.8


@pytest.mark.parametrize("variational", [False, True])
def test_identity_without_a_key_or_a_rate(variational):
    for layer, key in [(rx.dropout(0.5, variational=variational), None), (rx.dropout(0.0), KEY)]:
        state, ys = layer.apply((), XS, key=key)
        assert state == ()
        np.testing.assert_array_equal(ys, XS)


def test_a_key_is_a_mask():
    layer = rx.dropout(0.5)
    masks = [np.asarray(layer.apply((), XS, key=jax.random.key(k))[1]) == 0 for k in (0, 0, 1)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).mean() > 0.4


def test_gradient_is_the_scaled_mask():
    layer = rx.dropout(0.25)
    gradient = jax.grad(lambda xs: layer.apply((), xs, key=KEY)[1].sum())(XS)
    _, ys = layer.apply((), XS, key=KEY)
    np.testing.assert_allclose(gradient, np.where(ys == 0, 0, 1 / 0.75), rtol=1e-6)


def test_masks_are_each_examples_own_under_vmap():
    layer, keys = rx.dropout(0.5), jax.random.split(KEY, 3)
    batch = jnp.stack([XS] * 3)
    _, ys = jax.vmap(lambda xs, key: layer.apply((), xs, key=key))(batch, keys)
    for b in range(3):
        np.testing.assert_array_equal(ys[b], layer.apply((), XS, key=keys[b])[1])
    assert ((np.asarray(ys[0]) == 0) != (np.asarray(ys[1]) == 0)).mean() > 0.4


@pytest.mark.parametrize("key", [None, KEY])
def test_padding_is_zero(key):
    xs = XS[:4].at[2:].set(jnp.nan)
    _, ys = rx.dropout(0.5).apply((), xs, length=2, key=key)
    assert np.isfinite(ys).all()
    assert not ys[2:].any()
    gradient = jax.grad(lambda xs: rx.dropout(0.5).apply((), xs, length=2, key=key)[1].sum())(xs)
    assert np.isfinite(gradient).all()
    assert not gradient[2:].any()


def test_drop_broadcasts_its_mask_and_keeps_the_dtype():
    ys = rx.drop(KEY, XS.astype(jnp.bfloat16), 0.5, (400, 1))
    assert ys.dtype == jnp.bfloat16
    dropped = np.asarray(ys == 0)
    assert (dropped == dropped[:, :1]).all()
    assert 0.3 < dropped[:, 0].mean() < 0.7
    of_numpy = rx.drop(KEY, XS.astype(jnp.bfloat16), np.float64(0.5), (400, 1))
    assert of_numpy.dtype == jnp.bfloat16
    np.testing.assert_array_equal(of_numpy, ys)


def test_errors_name_the_argument():
    for call, error, message in [
        (lambda: rx.dropout(1.0), ValueError, r"dropout: rate must lie in \[0, 1\), got 1\.0"),
        (lambda: rx.dropout(-0.1), ValueError, r"dropout: rate must lie in \[0, 1\), got -0\.1"),
        (lambda: rx.dropout(float("nan")), ValueError, "dropout: rate must lie in .*, got nan"),
        (lambda: rx.dropout("0.1"), TypeError, "dropout: rate must be a number .*, got '0.1'"),  # pyright: ignore
        (
            lambda: rx.dropout(0.5, variational=True).apply((), XS[0]),
            ValueError,
            r"dropout\(0.5, variational=True\): xs must have shape \[T, \.\.\.\], got \(50,\)",
        ),
        (lambda: rx.drop(KEY, XS, 1.5), ValueError, r"drop: rate must lie .*, got 1\.5"),
        (lambda: rx.drop(KEY, XS, 0.5, (400, 3)), ValueError, r"drop: shape \(400, 3\) does not"),
        (lambda: rx.drop(KEY, XS[0], 0.5, (3, 50)), ValueError, r"drop: shape \(3, 50\) does not"),
        (lambda: rx.drop(KEY, [1.0], 0.5), TypeError, "drop: x must be an array, got list"),  # pyright: ignore
        (lambda: rx.drop(3, XS, 0.5), TypeError, r"drop: key must be one jax\.random\.key, got 3"),  # pyright: ignore
    ]:
        with pytest.raises(error, match=message):
            call()
