"""UORO and KF-RTRL: exact in the mean over all signs, and over keys within a stated interval."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import recurrax as rx
from recurrax.gradients.online import online_value_and_grad
from tests.gradients.online.sequences import assert_close, by_backpropagation, jit, loss, sequence
from tests.support import x64


def with_signs(monkeypatch, learner, seq, signs):
    """The gradient with these signs, [draws, width], in place of random ones."""
    drawn = iter(signs)
    monkeypatch.setattr(
        jax.random, "rademacher", lambda key, shape, dtype: next(drawn)[: shape[0]].astype(dtype)
    )
    memory = learner.init(seq.params, seq.xs[0], key=jax.random.key(0))
    total = None
    for x, weights in zip(seq.xs, seq.weights, strict=True):
        memory, y, gradient = learner.step(seq.params, memory, x)
        new = gradient(jax.grad(loss)(y, weights))
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    return total


@pytest.mark.parametrize(
    ("method", "make", "draws", "width"),
    [
        (rx.uoro, lambda: rx.elman(2), 4, 2),
        (rx.uoro, lambda: rx.learned_state(rx.gru(2)), 4, 2),
        (rx.kf_rtrl, lambda: rx.lstm(2), 3, 2),
        (rx.kf_rtrl, lambda: rx.stack(rx.ugrnn(2), rx.dense(2)), 3, 2),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_mean_over_all_signs_is_exact(monkeypatch, method, make, draws, width):
    """Three steps, every combination of signs: no statistics, the mean is the gradient."""
    with x64():
        seq = sequence(make, 2, steps=3)
        signs = np.array(list(itertools.product([-1.0, 1.0], repeat=draws * width)))
        signs = signs.reshape(-1, draws, width)
        estimates = jit(jax.vmap(lambda one: with_signs(monkeypatch, method(seq.cell), seq, one)))(
            signs
        )
        expected = jit(lambda p: by_backpropagation(seq, p))(seq.params)[1]
        assert_close(jax.tree.map(lambda leaf: leaf.mean(0), estimates), expected)
        assert max(leaf.std(0).max() for leaf in jax.tree.leaves(estimates)) > 1e-2


@pytest.mark.parametrize("method", [rx.uoro, rx.kf_rtrl])
def test_mean_over_keys_is_within_its_confidence_interval(method):
    """5,000 keys; each entry within 5 standard errors, which chance exceeds once in 10^6.

    The errors are small against what the influence of earlier steps gives, so that an estimate
    that lost it would not pass.
    """
    with x64():
        seq = sequence(lambda: rx.elman(3), 2)
        forward = online_value_and_grad(method(seq.cell), loss)
        keys = jax.random.split(jax.random.key(5), 5_000)
        run = jax.vmap(lambda key: forward(seq.params, seq.xs, seq.weights, key=key)[1])
        many = ravel_each(jit(run)(keys))
        expected = ravel_pytree(jit(lambda p: by_backpropagation(seq, p))(seq.params)[1])[0]
        one_step = rx.eprop(seq.cell)
        _, cut = jit(online_value_and_grad(one_step, loss))(seq.params, seq.xs, seq.weights)
        error = many.std(0) / np.sqrt(len(many))
        assert np.all(np.abs(many.mean(0) - expected) < 5 * error)
        assert np.linalg.norm(error) < 0.1 * np.linalg.norm(ravel_pytree(cut)[0] - expected)


def test_the_factors_of_what_is_new_are_of_one_norm():
    """That is what the rho are for: any others are as unbiased, and noisier."""
    with x64():
        seq = sequence(lambda: rx.elman(3), 2, steps=1)
        state = seq.cell.initial_state(seq.params) + 0.3

        def after(method):
            learner = method(seq.cell)
            before = learner.init(seq.params, seq.xs[0], state=state, key=jax.random.key(0))
            return before.influence, learner.step(seq.params, before, seq.xs[0])[0].influence

        first, second = after(rx.uoro)
        moved = jax.jacobian(lambda s: seq.cell.step(seq.params, s, seq.xs[0])[0])(state) @ first.s
        _, new = after(rx.kf_rtrl)
        for a, b in ((second.s - moved, second.theta), (new.a, new.u)):
            np.testing.assert_allclose(np.linalg.norm(a), np.linalg.norm(b), rtol=1e-12)


def ravel_each(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in leaves], axis=1)


@pytest.mark.parametrize(
    "make",
    [rx.elman, rx.irnn, rx.lstm, rx.lstm_1997, rx.coupled_lstm, rx.ugrnn, rx.min_gru, rx.min_lstm],
)
def test_kf_rtrl_takes_what_is_one_product(make):
    cell, x = make(3), jnp.ones(2)
    params = jax.eval_shape(cell.init, jax.random.key(0), x)
    memory = jax.eval_shape(rx.kf_rtrl(cell).init, params, x, key=jax.random.key(0))
    weights = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    columns, rows = weights[0].shape[1], sum(leaf.shape[0] for leaf in weights)
    assert memory.influence.u.shape == (rows + 1,)
    assert memory.influence.a.shape[1] == columns


@pytest.mark.parametrize(
    ("make", "leaf"),
    [
        (lambda: rx.gru(3), r"params\.\w+"),
        (lambda: rx.indrnn(3), r"params\.u"),
        (lambda: rx.peephole_lstm(3), r"params\.p_i"),
        (lambda: rx.antisymmetric(3), r"params\.w_h"),
        (lambda: rx.jordan(3, 2), r"params\.\w+"),
        (lambda: rx.stack(rx.lstm(3), rx.lstm(2)), r"params\[\d\]\.\w+"),
    ],
    ids=["gru", "indrnn", "peephole_lstm", "antisymmetric", "jordan", "stack"],
)
def test_kf_rtrl_refuses_what_is_no_single_product(make, leaf):
    cell = make()
    params = jax.eval_shape(cell.init, jax.random.key(0), jnp.ones(3))
    init = rx.kf_rtrl(cell).init
    with pytest.raises(ValueError, match=rf"one product z = v W \+ b, but {leaf} does not"):
        jax.eval_shape(init, params, jnp.ones(3), key=jax.random.key(0))


def test_errors_teach():
    cell = rx.lstm(3)
    params = cell.init(jax.random.key(0), jnp.ones(2))
    for method in (rx.uoro, rx.kf_rtrl):
        with pytest.raises(TypeError, match=rf"{method.__name__}\(lstm\(3\)\).init: key must be"):
            method(cell).init(params, jnp.ones(2))
    learned = rx.learned_state(cell)
    with pytest.raises(ValueError, match="the initial state depends on the params"):
        rx.kf_rtrl(learned).init(
            learned.init(jax.random.key(0), jnp.ones(2)), jnp.ones(2), key=jax.random.key(0)
        )
