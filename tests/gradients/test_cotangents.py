"""Clipping at every step against backpropagation through time by hand, in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.entry import sigmoid
from tests.cells.harness import assert_close, random_like
from tests.cells.registry import REGISTRY
from tests.scan.agreement import QUICK, loop_products
from tests.support import x64

T, D, H = 9, 3, 4
BOUNDS = [{"norm": 0.3}, {"value": 0.1}, {"value": 0.15, "norm": 0.25}]
BY_NAME = {entry.name: entry for entry in REGISTRY}


def clip(message, value=None, norm=None):
    """The docstring's two lines."""
    if value is not None:
        message = [np.minimum(np.maximum(m, -value), value) for m in message]
    if norm is not None:
        length = np.sqrt(sum(np.sum(m**2) for m in message))
        message = [m * min(1, norm / length) if length > 0 else m for m in message]
    return message


def lstm_backward(params, xs, weights, last, bounds):
    """By hand: dL/dparams and dL/dxs of L = sum(weights * h) + last . c_T."""
    w_x, w_h, b = params
    c, h = np.zeros(H), np.zeros(H)
    tape = []
    for x in xs:
        pre = x @ w_x + h @ w_h + b
        i, f, o = (sigmoid(pre[n * H : (n + 1) * H]) for n in (0, 1, 3))
        g = np.tanh(pre[2 * H : 3 * H])
        after = f * c + i * g
        tape.append((x, c, h, i, f, g, o, after))
        c, h = after, o * np.tanh(after)
    d_x, d_w_x, d_w_h, d_b = [], np.zeros_like(w_x), np.zeros_like(w_h), np.zeros_like(b)
    d_c, d_h = last, np.zeros(H)
    clipped = 0
    for (x, c, h, i, f, g, o, after), weight in zip(tape[::-1], weights[::-1], strict=True):
        d_h = d_h + weight
        squashed = np.tanh(after)
        d_c = d_c + d_h * o * (1 - squashed**2)
        gates = d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_c * i * (1 - g**2)
        d_pre = np.concatenate([*gates, d_h * squashed * o * (1 - o)])
        d_x.append(w_x @ d_pre)
        d_w_x += np.outer(x, d_pre)
        d_w_h += np.outer(h, d_pre)
        d_b += d_pre
        message = [d_c * f, w_h @ d_pre]
        d_c, d_h = clip(message, **bounds)
        clipped += any(np.any(a != b) for a, b in zip(message, (d_c, d_h), strict=True))
    return (d_w_x, d_w_h, d_b), np.stack(d_x[::-1]), (d_c, d_h), clipped


def lstm_case(seed):
    rng = np.random.default_rng(seed)
    params = [rng.normal(size=s) for s in ((D, 4 * H), (H, 4 * H), (4 * H,))]
    return rx.LSTMParams(*params), rng.normal(size=(T, D)), rng.normal(size=(T, H))


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@x64()
def test_lstm_by_hand(bounds):
    cell = rx.clip_state_gradient(rx.lstm(H), **bounds)
    cases = [lstm_case(seed) for seed in range(4)]
    last = np.linspace(-1, 1, H)

    def gradients(params, xs, weights):
        def loss(params, xs, state):
            state, ys = rx.unroll(cell, params, xs, state=state)
            return jnp.sum(weights * ys) + last @ state.c

        return jax.grad(loss, (0, 1, 2))(params, xs, cell.initial_state(params))

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *cases)
    got = jax.jit(jax.vmap(gradients), compiler_options=QUICK)(*stacked)
    for n, (params, xs, weights) in enumerate(cases):
        *expected, clipped = lstm_backward(params, xs, weights, last, bounds)
        assert clipped > 0  # or nothing is tested
        assert_close(jax.tree.map(lambda leaf, n=n: leaf[n], got), expected, 1e-12)


@x64()
def test_a_batch_within_the_gradient_is_clipped_example_by_example():
    """The usual order in training: the gradient of a loss of a batch."""
    bounds = {"norm": 0.3}
    cell = rx.clip_state_gradient(rx.lstm(H), **bounds)
    cases = [lstm_case(seed) for seed in range(3)]

    def loss(params, xs, weights):
        return jnp.sum(weights * rx.unroll(cell, params, xs)[1])

    params, xs, weights = jax.tree.map(lambda *leaves: np.stack(leaves), *cases)
    gradient = jax.grad(lambda *given: jax.vmap(loss)(*given, weights).sum(), (0, 1))
    got = jax.jit(gradient, compiler_options=QUICK)(params, xs)
    for n, case_n in enumerate(cases):
        *expected, _, clipped = lstm_backward(*case_n, np.zeros(H), bounds)
        assert clipped > 0
        assert_close(jax.tree.map(lambda leaf, n=n: leaf[n], got), expected, 1e-12)


@x64()
def test_hand_written_backward_without_bounds_is_the_gradient():
    params, xs, weights = lstm_case(7)

    def loss(params, xs):
        return jnp.sum(weights * rx.unroll(rx.lstm(H), params, xs)[1])

    *expected, _, clipped = lstm_backward(params, xs, weights, np.zeros(H), {})
    assert clipped == 0
    gradient = jax.jit(jax.grad(loss, (0, 1)), compiler_options=QUICK)
    assert_close(gradient(params, xs), expected, 1e-12)


def slow_gradients(step, params, state, xs, weights, bounds):
    """A Python loop of one step's vector-Jacobian products, with the clip between them."""

    @jax.jit
    def back(params, state, x, cotangents):
        return jax.vjp(step, params, state, x)[1](cotangents)

    forward, tape = jax.jit(step), []
    for x in xs:
        tape.append((params, state, x))
        state, _ = forward(params, state, x)
    d_state, d_params = jax.tree.map(np.zeros_like, (state, params))
    d_xs = []
    for given, weight in zip(tape[::-1], weights[::-1], strict=True):
        of_params, d_state, d_x = back(*given, (d_state, weight))
        d_params = jax.tree.map(np.add, d_params, of_params)
        leaves, tree = jax.tree.flatten(d_state)
        d_state = jax.tree.unflatten(tree, clip(list(map(np.asarray, leaves)), **bounds))
        d_xs.append(d_x)
    return d_params, np.stack(d_xs[::-1])


@pytest.mark.parametrize("name", ["stack", "jordan"])
@x64()
def test_every_evaluator_agrees_with_a_loop(name):
    """Plain, checkpointed and under `jax.lax.scan`, each batched."""
    entry = BY_NAME[name]
    rng = np.random.default_rng(3)
    inner = rx.as_cell(entry.make())
    cell = rx.clip_state_gradient(inner, norm=0.2)
    params = inner.init(jax.random.key(0), jnp.zeros(entry.width))
    params = jax.tree.map(lambda leaf, n: leaf + n, params, random_like(rng, params))
    xs = rng.normal(size=(2, T, entry.width))
    state = inner.initial_state(params)
    shape = jax.eval_shape(inner.step, params, state, xs[0, 0])[1].shape
    weights = rng.normal(size=(2, T, *shape))

    def gradients(run, xs, weights):
        def loss(params, xs):
            return jnp.sum(weights * run(params, xs))

        return jax.grad(loss, (0, 1))(params, xs)

    def all_of_them():
        runs = [
            lambda params, xs: rx.unroll(cell, params, xs)[1],
            lambda params, xs: rx.unroll(cell, params, xs, checkpoint=4)[1],
            lambda params, xs: jax.lax.scan(functools.partial(cell.step, params), state, xs)[1],
        ]
        return [jax.vmap(functools.partial(gradients, run))(xs, weights) for run in runs]

    found = jax.jit(all_of_them, compiler_options=QUICK)()
    for n in range(2):
        expected = slow_gradients(inner.step, params, state, xs[n], weights[n], {"norm": 0.2})
        unclipped = slow_gradients(inner.step, params, state, xs[n], weights[n], {})
        assert np.max(np.abs(expected[1] - unclipped[1])) > 1e-3
        for got in found:
            assert_close(jax.tree.map(lambda leaf, n=n: leaf[n], got), expected, 1e-11)


@x64()
def test_output_of_the_state_before():
    """What a y takes of the state before its step is part of the message: bounded with the rest."""

    def step(params, h, x):
        return jnp.tanh(h @ params["u"] + x), h @ params["v"] @ params["v"]

    rng = np.random.default_rng(5)
    params = {"u": 2 * rng.normal(size=(H, H)), "v": rng.normal(size=(H, H))}
    xs, weights = rng.normal(size=(T, H)), rng.normal(size=(T, H))
    inner = rx.Cell(lambda key, x: params, lambda p: jnp.zeros(H), step)
    cell = rx.clip_state_gradient(inner, value=0.2, norm=0.3)

    def loss(params, xs):
        return jnp.sum(weights * rx.unroll(cell, params, xs)[1])

    expected = slow_gradients(step, params, jnp.zeros(H), xs, weights, {"value": 0.2, "norm": 0.3})
    gradient = jax.jit(jax.grad(loss, (0, 1)), compiler_options=QUICK)
    assert_close(gradient(params, xs), expected, 1e-11)


@x64()
def test_values_tangents_padding_and_generous_bounds():
    params, xs, weights = lstm_case(1)
    free, cell = rx.lstm(H), rx.clip_state_gradient(rx.lstm(H), norm=0.2)
    generous = rx.clip_state_gradient(rx.lstm(H), norm=1e9, value=1e9)

    def loss(cell, params, xs, length=None):
        return jnp.sum(weights * rx.unroll(cell, params, xs, length=length)[1])

    def all_of_them(params, xs):
        gradient = jax.grad(loss, (1, 2))
        slopes = [
            jax.jvp(functools.partial(loss, c), (params, xs), (params, xs)) for c in (free, cell)
        ]
        return (
            slopes,
            [gradient(c, params, xs) for c in (free, generous)],
            gradient(cell, params, xs, 4),
        )

    slopes, gradients, padded = jax.jit(all_of_them, compiler_options=QUICK)(params, xs)
    assert_close(*slopes, 1e-13)
    assert_close(*gradients, 1e-13)
    *expected, _, _ = lstm_backward(params, xs[:4], weights[:4], np.zeros(H), {"norm": 0.2})
    assert_close((padded[0], padded[1][:4]), expected, 1e-12)
    assert np.all(padded[1][4:] == 0)


def test_the_engine_still_splits_the_loop():
    """One product in either loop, with weight gradients outside, as without the clip."""
    cell = rx.clip_state_gradient(rx.lstm(8), norm=1.0)
    params = cell.init(jax.random.key(0), jnp.ones(5))

    def loss(params, xs):
        return jnp.sum(jax.vmap(lambda xs: rx.unroll(cell, params, xs)[1])(xs) ** 2)

    assert loop_products(jax.grad(loss), params, jnp.ones((3, 17, 5))) == [1, 1]


def test_counters_and_a_non_finite_message():
    cell = rx.clip_state_gradient(rx.clockwork(6, (1, 2, 3)), norm=0.1)
    xs = jnp.ones((5, D))
    params = cell.init(jax.random.key(0), xs[0])
    gradient = jax.grad(lambda xs: rx.unroll(cell, params, xs)[1].sum())(xs)
    assert np.all(np.isfinite(gradient))
    assert np.any(np.asarray(gradient) != 0)

    blows_up = rx.Cell(lambda k, x: None, lambda p: jnp.zeros(2), lambda p, s, x: (s * x, s))
    cell = rx.clip_state_gradient(blows_up, norm=1.0)
    found = jax.grad(lambda s: rx.unroll(cell, 0, jnp.full(3, jnp.inf), state=s)[0].sum())
    assert np.all(np.isnan(found(jnp.ones(2))))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ValueError, "expected a bound, value or norm, got neither"),
        ({"norm": 0}, ValueError, "clip_state_gradient: norm must be a number > 0"),
        ({"value": "1"}, TypeError, "clip_state_gradient: value must be a number"),
    ],
)
def test_errors_teach(options, error, said):
    with pytest.raises(error, match=said):
        rx.clip_state_gradient(rx.lstm(3), **options)


def test_name():
    cell = rx.clip_state_gradient(rx.lstm(3), norm=1, value=0.5)
    assert repr(cell) == "clip_state_gradient(lstm(3), value=0.5, norm=1)"
