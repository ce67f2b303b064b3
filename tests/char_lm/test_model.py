"""The network, its update and its held-out loss, against plain loops."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.held_out import HeldOut
from experiments.char_lm.model import CELLS, CharModel, ModelConfig
from experiments.char_lm.step import TrainState, make_optimizer, make_step
from experiments.common.devices import data_mesh
from tests.support import x64

V, T = 5, 12


def make(cell="lstm", **changes):
    """A model in float64 whose params are far from zero."""
    model = CharModel(ModelConfig(cell=cell, features=4, layers=2, **changes), V)
    params = model.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [
        jax.random.normal(k, leaf.shape, jnp.float64) for k, leaf in zip(keys, leaves, strict=True)
    ]
    return model, jax.tree.unflatten(tree, drawn)


def letters(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, V, shape).astype(np.int32)


def slow_scores(model, params, text):
    """Letter by letter, with nothing but each cell's step."""
    cell, found = CELLS[model.config.cell](4), []
    states = [cell.initial_state(p) for p in params.layers]
    for letter in text:
        x = V**0.5 * jnp.eye(V)[letter]
        for at, p in enumerate(params.layers):
            states[at], x = cell.step(p, states[at], x)
        found.append(x @ params.w + params.b)
    return tuple(states), jnp.stack(found)


@x64()
@pytest.mark.parametrize("cell", CELLS)
def test_reading_is_stepping(cell):
    model, params = make(cell)
    text = letters(T)
    expected_state, expected = jax.jit(functools.partial(slow_scores, model))(params, text)
    state, scores = model.read(params, model.initial_state(params), text)
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), state, expected_state)
    state, stepped = jax.lax.scan(
        functools.partial(model.step, params), model.initial_state(params), text
    )
    np.testing.assert_allclose(stepped, expected, rtol=1e-10)
    # In two parts, the second from where the first ended.
    half, first = model.read(params, model.initial_state(params), text[:7])
    _, second = model.read(params, half, text[7:])
    np.testing.assert_allclose(jnp.concatenate([first, second]), expected, rtol=1e-10)


@x64()
def test_noise_is_drawn_once_a_chunk_and_only_with_a_key():
    model, params = make(dropout=0.5, input_dropout=0.4, weight_dropout=0.5)
    plain, _ = make()
    state = model.initial_state(params)
    np.testing.assert_array_equal(
        model.read(params, state, letters(T))[1], plain.read(params, state, letters(T))[1]
    )
    # The same letter again and again, in a network without memory: one mask, so the same scores.
    forgetful = params._replace(
        layers=tuple(p._replace(w_h=0 * p.w_h, b=p.b.at[4:8].set(-1e9)) for p in params.layers)
    )
    same = np.zeros(T, np.int32)
    seen = [model.read(forgetful, state, same, jax.random.key(seed))[1] for seed in range(8)]
    for scores in seen:
        np.testing.assert_allclose(scores, jnp.broadcast_to(scores[0], scores.shape), rtol=1e-9)
    assert len({float(scores[0, 0]) for scores in seen}) > 4
    dropped = model.drop_weights(params, jax.random.key(0))
    for p, q in zip(params.layers, dropped.layers, strict=True):
        np.testing.assert_array_equal(p.w_x, q.w_x)
        kept = np.asarray(q.w_h != 0)
        assert 0 < kept.sum() < kept.size
        np.testing.assert_allclose(np.asarray(q.w_h)[kept], np.asarray(p.w_h * 2)[kept])


@x64()
@pytest.mark.parametrize(("devices", "forgets"), [(1, 0.0), (2, 0.0), (2, 1 - 1e-15)])
def test_updates_are_truncated_backpropagation_with_the_state_carried_over(devices, forgets):
    """Two chunks: the gradient of the second ends at its first letter, its state does not.

    Unless, that is, every stream forgets it.
    """
    model, params = make()
    config = TrainConfig(
        model=model.config, streams=4, chunk=T, warmup_steps=0, learning_rate=0.1, forgets=forgets
    )
    mesh = data_mesh(devices=jax.devices()[:devices])
    optimizer = make_optimizer(config, 10)
    carried = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), model.initial_state(params)
    )
    state = TrainState(
        jnp.zeros((), jnp.int32), params, optimizer.init(params), carried, jax.random.key(0)
    )
    step = make_step(model, optimizer, config, mesh)
    text = letters(4, 2 * T + 1)

    def loss(params, states, chunk):
        total, after = 0.0, []
        for row, before in zip(chunk, states, strict=True):
            found, scores = model.read(params, before, row[:-1])
            log_p = jax.nn.log_softmax(scores)
            total -= jnp.sum(log_p[jnp.arange(T), row[1:]])
            after.append(found)
        return total / (4 * T), after

    slow = jax.jit(jax.value_and_grad(loss, has_aux=True))
    expected, opt_state = params, optimizer.init(params)
    states = [model.initial_state(params)] * 4
    for number in range(2):
        chunk = text[:, number * T : (number + 1) * T + 1]
        if forgets:
            states = [model.initial_state(params)] * 4
        (value, states), gradients = slow(expected, states, chunk)
        updates, opt_state = optimizer.update(gradients, opt_state, expected)
        expected = optax.apply_updates(expected, updates)
        state, metrics = step(state, chunk)
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-9)
        assert int(metrics["tokens"]) == 4 * T
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), state.params, expected)
    for row, own in enumerate(states):
        jax.tree.map(
            lambda all, one, row=row: np.testing.assert_allclose(all[row], one, rtol=1e-6),
            state.carried,
            own,
        )


@x64()
@pytest.mark.parametrize("length", [2, 30, 41])
def test_every_letter_is_scored_once_after_all_before_it(length):
    model, params = make()
    text = letters(length)
    _, scores = slow_scores(model, params, text[:-1])
    log_p = jax.nn.log_softmax(scores)[jnp.arange(length - 1), text[1:]]
    loss = HeldOut(model, text, TrainConfig())(params)
    assert loss.letters == length - 1
    np.testing.assert_allclose(loss.nats, -log_p.mean(), rtol=1e-9)
    np.testing.assert_allclose(loss.bits, -log_p.mean() / np.log(2), rtol=1e-9)


def test_long_texts_are_read_in_chunks(monkeypatch):
    from experiments.char_lm import held_out

    model = CharModel(ModelConfig(features=4), V)
    params = model.init(jax.random.key(0))
    text = letters(50)
    whole = HeldOut(model, text, TrainConfig())(params)
    monkeypatch.setattr(held_out, "_LETTERS", 16)
    parts = HeldOut(model, text, TrainConfig())(params)
    np.testing.assert_allclose(parts.nats, whole.nats, rtol=1e-5)


def test_bfloat16_rounds_the_products_and_nothing_else():
    model = CharModel(ModelConfig(features=16), V)
    params = model.init(jax.random.key(0))
    text, rounded = letters(60), dataclasses.replace(TrainConfig(), precision="bfloat16")
    full, half = (HeldOut(model, text, c)(params).nats for c in (TrainConfig(), rounded))
    assert full != half
    np.testing.assert_allclose(half, full, rtol=1e-2)
