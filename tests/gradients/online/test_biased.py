"""SnAp and e-prop against their definitions, written without the library."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import recurrax as rx
from recurrax.gradients import gradient_agreement
from recurrax.gradients.online import online_value_and_grad
from tests.cells.entry import sigmoid
from tests.gradients.online.sequences import assert_close, by_backpropagation, jit, loss, sequence
from tests.support import x64


def jacobians(seq):
    """y's own gradient terms, D and B of every step, [T, ...], dense, by `jax.jacfwd`."""
    theta, params_of = ravel_pytree(seq.params)
    s, state_of = ravel_pytree(seq.cell.initial_state(seq.params))

    def step(theta, s, x):
        after, y = seq.cell.step(params_of(theta), state_of(s), x)
        return ravel_pytree(after)[0], y

    def body(s, inputs):
        x, weights = inputs
        (b, d), (y_theta, y_s) = jax.jacfwd(step, argnums=(0, 1))(theta, s, x)
        after, y = step(theta, s, x)
        return after, (jax.grad(loss)(y, weights), y_theta, y_s, d, b)

    return jax.tree.map(np.asarray, jit(lambda: jax.lax.scan(body, s, (seq.xs, seq.weights)))()[1])


def snap_by_definition(seq, terms, steps):
    """J = mask * (D J + B), the mask from which entries are ever other than zero."""
    d_y, y_theta, y_s, d, b = terms
    links, mask = (d != 0).any(0), (b != 0).any(0)
    for _ in range(steps - 1):
        mask = mask | (links.astype(int) @ mask.astype(int) > 0)
    influence, total = np.zeros_like(b[0]), 0
    for t in range(len(d)):
        total = total + d_y[t] @ (y_theta[t] + y_s[t] @ influence)
        influence = mask * (d[t] @ influence + b[t])
    return ravel_pytree(seq.params)[1](jnp.asarray(total)), int(mask.sum())


@pytest.mark.parametrize(
    "make",
    [
        lambda: rx.lstm(3),
        pytest.param(lambda: rx.gru(3, reset_after=False), marks=pytest.mark.slow),
        lambda: rx.stack(rx.min_gru(2), rx.elman(3)),
    ],
    ids=["lstm", "gru_reset_before", "min_gru_elman"],
)
def test_snap_is_its_definition_and_in_the_end_exact(make):
    with x64():
        seq = sequence(make, 2)
        learners = [rx.snap(seq.cell, n) for n in (1, 2, 3)]

        def everything(params):
            runs = [online_value_and_grad(one, loss) for one in learners]
            estimates = [run(params, seq.xs, seq.weights)[1] for run in runs]
            return estimates, by_backpropagation(seq, params)[1]

        estimates, exact = jit(everything)(seq.params)
        terms = jacobians(seq)
        for n, (learner, got) in enumerate(zip(learners, estimates, strict=True), 1):
            expected, kept = snap_by_definition(seq, terms, n)
            assert_close(got, expected)
            influence = jax.eval_shape(learner.init, seq.params, seq.xs[0]).influence
            # Blocks of unlike sizes are padded.
            assert kept <= sum(leaf.size for leaf in influence) < 2 * kept
        assert gradient_agreement(estimates[0], exact).relative_error_of_all > 1e-3
        assert_close(estimates[2], exact)


def test_snap_1_of_an_elman_network_in_numpy():
    with x64():
        seq = sequence(lambda: rx.elman(3), 2)
        w_x, w_h, b = map(np.asarray, seq.params)
        total, h = np.zeros((2 + 3 + 1, 3)), np.zeros(3)
        influence = np.zeros_like(total)  # of column j on unit j
        for x, weights in zip(seq.xs, seq.weights, strict=True):
            before = np.concatenate([x, h, [1]])
            h = np.tanh(x @ w_x + h @ w_h + b)
            slope = 1 - h**2
            d_y = weights * np.cos(weights * h)
            for j in range(3):
                # The loss sees all units' pasts, through the state before this step.
                total[:, j] += d_y[j] * slope[j] * before
                total[:, j] += (d_y * slope) @ w_h[j] * influence[:, j]
                influence[:, j] = slope[j] * (before + w_h[j, j] * influence[:, j])
        learner = rx.snap(seq.cell)
        _, got = jit(online_value_and_grad(learner, loss))(seq.params, seq.xs, seq.weights)
        assert_close(got, rx.ElmanParams(*map(jnp.asarray, (total[:2], total[2:5], total[5]))))


def test_eprop_of_an_lstm_in_numpy():
    """Bellec et al.'s eligibilities: of c along f alone, and from c to h."""
    with x64():
        seq = sequence(lambda: rx.lstm(3), 2)
        w_x, w_h, b = map(np.asarray, seq.params)
        c, h = np.zeros(3), np.zeros(3)
        eligibility, total = np.zeros((2, 6, 12))
        for x, weights in zip(seq.xs, seq.weights, strict=True):
            seen = np.concatenate([x, h, [1]])
            pre = np.split(x @ w_x + h @ w_h + b, 4)
            i, f, o = sigmoid(pre[0]), sigmoid(pre[1]), sigmoid(pre[3])
            g = np.tanh(pre[2])
            to_c = np.concatenate([i * (1 - i) * g, f * (1 - f) * c, i * (1 - g**2), 0 * o])
            c = f * c + i * g
            h = o * np.tanh(c)
            eligibility = np.tile(f, 4) * eligibility + np.outer(seen, to_c)
            to_h = np.tile(o * (1 - np.tanh(c) ** 2), 4) * eligibility
            to_h[:, 9:] += np.outer(seen, o * (1 - o) * np.tanh(c))
            total = total + np.tile(weights * np.cos(weights * h), 4) * to_h
        learner = rx.eprop(seq.cell)
        _, got = jit(online_value_and_grad(learner, loss))(seq.params, seq.xs, seq.weights)
        assert_close(got, rx.LSTMParams(*map(jnp.asarray, (total[:2], total[2:5], total[5]))))


@pytest.mark.parametrize(
    ("make", "observable", "cut"),
    [
        (lambda: rx.lstm(3), None, lambda s: s._replace(h=jax.lax.stop_gradient(s.h))),
        (lambda: rx.gru(3), None, jax.lax.stop_gradient),
        pytest.param(lambda: rx.lru(3, state=2), (), lambda s: s, marks=pytest.mark.slow),
        (
            lambda: rx.stack(rx.lstm(2), rx.lstm(3)),
            "h",
            lambda s: tuple(one._replace(h=jax.lax.stop_gradient(one.h)) for one in s),
        ),
    ],
    ids=["lstm", "gru", "lru", "stack"],
)
def test_eprop_is_backpropagation_with_stopped_gradients(make, observable, cut):
    with x64():
        seq = sequence(make, 2)
        learner = rx.eprop(seq.cell, observable)
        got = jit(online_value_and_grad(learner, loss))(seq.params, seq.xs, seq.weights)
        stopped = rx.Cell(
            seq.cell.init,
            seq.cell.initial_state,
            lambda params, s, x: seq.cell.step(params, cut(s), x),
        )
        cut_there = seq._replace(cell=stopped)
        assert_close(got, jit(lambda p: by_backpropagation(cut_there, p))(seq.params))


def test_eprop_says_where_it_cuts_nothing():
    under_a_read_out = rx.stack(rx.lstm(2), rx.elman(1))
    params = under_a_read_out.init(jax.random.key(0), jnp.ones(2))
    open_cell = dataclasses.replace(
        under_a_read_out,
        step=lambda p, s, x: (lambda after, y: (after, 2 * y))(*under_a_read_out.step(p, s, x)),
    )
    with pytest.warns(UserWarning, match=r"nothing of its state .* this is rx\.rtrl"):
        rx.eprop(open_cell).init(params, jnp.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rx.eprop(open_cell, ()).init(params, jnp.ones(2))
        rx.eprop(rx.lstm(2)).init(params[0], jnp.ones(2))


def test_errors_teach():
    cell = rx.lstm(3)
    params = cell.init(jax.random.key(0), jnp.ones(2))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        rx.snap(cell, 0)
    with pytest.raises(TypeError, match="observable must be names"):
        rx.eprop(cell, (1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no field \['z'\]; its fields are \['c', 'h'\]"):
        rx.eprop(cell, "z").init(params, jnp.ones(2))
