"""Many to one: pooling over what is valid, at every length, against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close, assert_same_bits, to_numpy
from tests.support import x64

T, M = 4, 3
LENGTHS = np.arange(T + 1, dtype=np.int32)  # the same integers with and without x64
KEY = jax.random.key(0)
# Negative, so that a zero from the padding would be the maximum.
XS = np.random.default_rng(0).normal(size=(T + 1, T, M)) - 3
PAST = np.arange(T) >= LENGTHS[:, None]

POOLS = {
    "last": lambda xs: xs[-1],
    "mean": lambda xs: xs.mean(axis=0),
    "max": lambda xs: xs.max(axis=0),
}


def additive_pool():
    model = rx.attention_pool(rx.additive(2))
    rng = np.random.default_rng(1)
    with x64():
        params = model.init(KEY, XS[0])
    return model, jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)


def softmax_mean(params, xs):
    query, (w_query, w_key, v) = params
    scores = np.tanh(xs @ w_key + query @ w_query) @ v
    weights = np.exp(scores - scores.max())
    return weights @ xs / weights.sum()


ADDITIVE, PARAMS = additive_pool()
CASES = [pytest.param(rx.pool(how), (), pool, id=how) for how, pool in POOLS.items()]
CASES += [pytest.param(ADDITIVE, PARAMS, lambda xs: softmax_mean(PARAMS, xs), id="attention")]


@x64()
@pytest.mark.parametrize(("model", "params", "reference"), CASES)
def test_pools_what_is_valid(model, params, reference):
    """Each length, 0 included; no bit of the padding reaches the result or a gradient."""

    def loss(params, xs):
        state, ys = jax.vmap(lambda xs, n: model.apply(params, xs, length=n))(xs, LENGTHS)
        assert state == ()
        return (ys**2).sum(), ys

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, ys), gradients = to_numpy(run(params, XS))
    assert not ys[0].any()
    assert not gradients[1][0].any()
    for n in LENGTHS[1:]:
        assert_close(ys[n], reference(XS[n, :n]))
    spoiled = np.where(PAST[..., None], np.nan, XS)
    assert_same_bits(run(params, spoiled), ((_, ys), gradients))
    direction = np.random.default_rng(2).normal(size=XS.shape)
    moved = [run(params, XS + s * 1e-5 * direction)[0][0] for s in (1, -1)]
    numeric = (moved[0] - moved[1]) / 2e-5
    np.testing.assert_allclose((gradients[1] * direction).sum(), numeric, rtol=1e-6)
    assert_close(model.apply(params, XS[1])[1], reference(XS[1]))
    assert not model.apply(params, XS[1, :0])[1].any(), "no steps at all"


def test_keeps_the_dtype_and_sums_in_float32():
    xs = jnp.ones((1001, 1), jnp.bfloat16)
    for how in POOLS:
        _, y = rx.pool(how).apply((), xs)
        assert y.dtype == jnp.bfloat16
        assert y == 1, "a sum of ones in bfloat16 stops at 256"


@pytest.mark.filterwarnings("error")
def test_numpy_means_what_jax_computes_in():
    for how, pooled in POOLS.items():
        _, y = rx.pool(how).apply((), XS[0])
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, pooled(XS[0]), rtol=1e-6)


def test_pools_trees_and_numbers():
    xs = {"a": jnp.arange(3.0), "b": (jnp.ones((3, 2, 2)),)}
    _, y = rx.pool("max").apply((), xs, length=2)
    assert y["a"] == 1
    assert y["b"][0].shape == (2, 2)


def test_attention_starts_as_the_mean():
    for attention in (rx.dot(), rx.scaled_dot(), rx.general()):
        model = rx.attention_pool(attention)
        xs = jnp.float32(XS[0])
        _, y = model.apply(model.init(KEY, xs), xs, length=2)
        np.testing.assert_allclose(y, xs[:2].mean(axis=0), rtol=1e-6)


def test_errors_name_the_argument():
    xs, resets = jnp.ones((T, M)), jnp.zeros(T, bool)
    attention = rx.attention_pool(rx.dot())
    for call, error, message in [
        (lambda: rx.pool("sum"), ValueError, r"pool: how must be one of \['last', .*, got 'sum'"),
        (lambda: rx.pool("max").apply((), xs, resets=resets), ValueError, "resets: packed data"),
        (lambda: rx.pool("max").apply((), jnp.arange(3)), TypeError, "xs must be floating, got"),
        (lambda: rx.pool("max").apply((), xs, length=9), ValueError, "length: .* got 9"),
        (lambda: rx.attention_pool("dot"), TypeError, "expected an attention, got 'dot'"),  # pyright: ignore
        (lambda: attention.init(KEY, xs[0]), ValueError, r"xs must be .*\[T, M\]"),
        (lambda: attention.apply((), xs), TypeError, "params must be the AttentionPoolParams"),
        (
            lambda: attention.apply(attention.init(KEY, xs), xs, resets=resets),
            ValueError,
            "resets: packed data",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
