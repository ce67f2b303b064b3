"""The five shapes of a network (Karpathy, 2015), each end to end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells import registry
from tests.cells.harness import assert_close, random_like
from tests.support import x64

T, D, STEPS = 4, 3, 5
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(T, D))


def random_params(model, xs):
    return random_like(np.random.default_rng(1), model.init(KEY, xs))


def loop(step, params, state, xs):
    ys = []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    return state, np.stack(ys)


def fed_back(step, params, state, x, steps):
    ys = []
    for _ in range(steps):
        state, x = step(params, state, x)
        ys.append(x)
    return state, np.stack(ys)


@x64()
def test_one_to_one():
    model = rx.one_step(rx.gru(2))
    params = random_params(model, XS[0])
    h, y = registry.gru_after(params, np.ones(2), XS[0])
    assert_close(model.apply(params, XS[0], state=np.ones(2)), (h, y))
    assert_close(model.apply(params, XS[0])[1], registry.gru_after(params, np.zeros(2), XS[0])[1])


@x64()
def test_one_to_many():
    """Outputs fed back, steps past the length zero, the state there held; and it goes on."""
    model = rx.autoregressive(rx.stack(rx.lstm(4), rx.dense(D)), STEPS)
    params = random_params(model, XS[0])

    def step(params, state, x):
        state, h = registry.lstm(params[0], state, x)
        return state, h @ params[1].w + params[1].b

    state, expected = fed_back(step, params, (np.zeros(4), np.zeros(4)), XS[0], STEPS)
    got_state, ys = jax.jit(model.apply)(params, XS[0])
    assert_close((got_state, ys), ((state, ()), expected))
    begun, first = model.apply(params, XS[0], length=2)
    assert_close(first, np.where(np.arange(STEPS)[:, None] < 2, expected, 0))
    ended, rest = model.apply(params, first[1], state=begun, length=STEPS - 2)
    assert_close((ended, rest[: STEPS - 2]), (got_state, expected[2:]))


@x64()
def test_one_to_many_with_feed():
    """The index of the largest output, embedded, is the next input."""
    embedding = np.random.default_rng(9).normal(size=(6, D))
    cell = rx.stack(rx.gru(4), rx.dense(6))
    model = rx.autoregressive(cell, STEPS, feed=lambda y: jnp.asarray(embedding)[jnp.argmax(y)])
    params = jax.tree.map(lambda leaf: 3 * leaf, random_params(model, XS[0]))
    params = params[0], params[1]._replace(b=np.zeros(6))
    h, x, expected = np.zeros(4), XS[0], []
    for _ in range(STEPS):
        h, _ = registry.gru_after(params[0], h, x)
        expected.append(h @ params[1].w + params[1].b)
        x = embedding[np.argmax(expected[-1])]
    assert [np.argmax(y) for y in expected] == [4, 2, 1, 1, 1], "the choice matters"
    assert_close(model.apply(params, XS[0])[1], np.stack(expected))


@x64()
def test_many_to_one():
    model = rx.serial(rx.gru(4), rx.pool("last"), rx.one_step(rx.dense(2)))
    params = random_params(model, XS)
    for n in (T, 2):
        h, _ = loop(registry.gru_after, params[0], np.zeros(4), XS[:n])
        _, y = model.apply(params, XS, length=n)
        assert_close(y, h @ params[2].w + params[2].b)


@x64()
def test_many_to_many_aligned():
    model = rx.serial(rx.gru(4), rx.dense(2))
    params = random_params(model, XS)
    _, hs = loop(registry.gru_after, params[0], np.zeros(4), XS)
    assert_close(model.apply(params, XS)[1], hs @ params[1].w + params[1].b)


@x64()
@pytest.mark.parametrize("length", [None, 2])
def test_many_to_many_unaligned(length):
    """A sequence into a vector into a sequence: the input's length cuts no output."""
    model = rx.serial(
        rx.gru(D), rx.pool("last"), rx.autoregressive(rx.elman(D), STEPS), rx.dense(2)
    )
    params = random_params(model, XS)
    h, _ = loop(registry.gru_after, params[0], np.zeros(D), XS[:length])
    _, ys = fed_back(registry.elman(np.tanh), params[2], np.zeros(D), h, STEPS)
    _, got = jax.jit(model.apply)(params, XS, length=length)
    assert got.shape == (STEPS, 2)
    assert_close(got, ys @ params[3].w + params[3].b)


@x64()
def test_an_encoders_state_starts_a_decoder():
    encoder, decoder = rx.lstm(D), rx.autoregressive(rx.lstm(D), STEPS)
    params = random_params(rx.stack(encoder, encoder), XS[0])
    state, _ = rx.unroll(encoder, params[0], XS)
    _, ys = decoder.apply(params[1], jnp.zeros(D), state=state)
    first, _ = loop(registry.lstm, params[0], (np.zeros(D), np.zeros(D)), XS)
    assert_close(ys, fed_back(registry.lstm, params[1], first, np.zeros(D), STEPS)[1])


def test_wrappers_of_what_changes_time_change_time():
    pooled = rx.serial(rx.gru(2), rx.pool("last"))
    for model in (
        pooled,
        rx.serial(pooled, rx.one_step(rx.dense(1))),
        rx.bidirectional(pooled, pooled),
        rx.reverse(pooled),
        rx.weight_dropout(pooled, 0.5),
    ):
        assert isinstance(model, rx.Unaligned)
    assert not isinstance(rx.serial(rx.gru(2)), rx.Unaligned)


def test_no_steps():
    model = rx.autoregressive(rx.elman(D), 0)
    params = model.init(KEY, jnp.ones(D))
    state, ys = model.apply(params, jnp.ones(D))
    assert ys.shape == (0, D)
    assert not state.any()


def test_errors_name_the_argument():
    x = jnp.ones(D)
    wide = rx.elman(D + 1).init(KEY, x)
    model = rx.autoregressive(rx.elman(D), STEPS)
    params = model.init(KEY, x)
    resets = jnp.zeros(D, bool)
    for call, error, message in [
        (lambda: rx.autoregressive(3, 1), TypeError, "cell: expected an object"),
        (lambda: rx.autoregressive(rx.elman(D), 1.0), TypeError, "steps must be an int, got 1.0"),  # pyright: ignore
        (lambda: rx.autoregressive(rx.elman(D), -1), ValueError, "steps must be at least 0"),
        (
            lambda: rx.autoregressive(rx.elman(D), 1, feed="y"),  # pyright: ignore
            TypeError,
            "autoregressive: feed must be a function, got 'y'",
        ),
        (
            lambda: rx.autoregressive(rx.elman(D + 1), 2).apply(wide, x),
            ValueError,
            r"what is fed back must be like the input, .*shape=\(3,\).*, got .*shape=\(4,\)",
        ),
        (lambda: model.apply(params, x, resets=resets), ValueError, "resets speaks of a time axis"),
        (lambda: model.apply(params, x, length=9), ValueError, "length: .* from 0 to 5, got 9"),
        (
            lambda: rx.one_step(rx.elman(D)).apply(params, x, length=1),
            ValueError,
            r"one_step\(elman\(3\)\): length speaks of a time axis",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
