"""Scheduled sampling against a plain loop, and its gradients against finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.decode import models as slow
from tests.support import x64

BOS, V = 0, 4
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)


def weighted_step(model, state, weights):
    """`jax_step` of a mixture of tokens."""
    reads = jnp.tensordot(weights, model.reads, 1)
    state = jnp.tanh(reads @ state + weights @ model.biases)
    return state, (model.writes @ state, state)


def run(model, targets, key, rate, temperature=None):
    step = functools.partial(slow.jax_step if temperature is None else weighted_step, model)
    step, state = rx.scheduled_sampling(
        step, model.state, rate=rate, vocabulary=V, temperature=temperature
    )
    _, (logits, states) = jax.lax.scan(step, state, (targets, jax.random.split(key, len(targets))))
    return logits, states


@x64()
def test_scheduled_sampling_is_a_plain_loop():
    """Per step: a coin, and what the last step drew where it says so; rate 0 is teacher forcing."""
    count, size = 60, 7
    models = jax.tree.map(jnp.asarray, slow.random_models(8, count, V))
    targets = jax.random.randint(jax.random.key(0), (count, size), 0, V)
    keys = jax.random.split(jax.random.key(1), count)
    rates = jnp.repeat(jnp.array([0.0, 0.5, 1.0]), count // 3)
    logits, states = jax.jit(jax.vmap(run))(models, targets, keys, rates)
    soft, _ = jax.jit(jax.vmap(lambda *args: run(*args, temperature=1e-9)))(
        models, targets, keys, rates
    )
    close(soft, logits)  # without temperature to speak of, the soft draw is the hard one
    replaced = 0
    for i in range(count):
        model, state = jax.tree.map(np.asarray, slow.one(models, i)), np.asarray(models.state[i])
        drawn = None
        for t, key in enumerate(jax.random.split(keys[i], size)):
            coin, noise = jax.random.split(key)
            own = t > 0 and bool(jax.random.bernoulli(coin, rates[i]))
            token = drawn if own else int(targets[i, t])
            state, log_probs = slow.read_one(model, state, token)
            close(states[i, t], state)
            gumbel = jax.random.gumbel(noise, (V,), float)
            drawn = int(np.argmax(log_probs + np.asarray(gumbel)))
            replaced += own
            assert not own or rates[i] > 0
    assert count * size / 4 < replaced < count * size * 3 / 4


@x64()
def test_the_soft_draw_passes_gradients_and_the_hard_one_none():
    """To the logits of the step before: by finite differences, all noise being held."""
    model = jax.tree.map(jnp.asarray, slow.one(slow.random_models(9, 1, V), 0))
    targets, key = jnp.array([BOS, 2, 3, 2]), jax.random.key(5)
    towards = jax.tree.map(
        lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape)), model
    )

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def loss(distance, rate, temperature):
        moved = jax.tree.map(lambda a, b: a + distance * b, model, towards)
        return run(moved, targets, key, rate, temperature)[0][-1, 0]

    slope = jax.grad(loss)(0.0, 1.0, 0.7)
    wanted = (loss(1e-6, 1.0, 0.7) - loss(-1e-6, 1.0, 0.7)) / 2e-6
    np.testing.assert_allclose(slope, wanted, rtol=1e-6)

    @functools.partial(jax.jit, static_argnums=1)
    def first_write(writes, temperature):  # moves only what the first step writes
        def step(state, given):
            time, state = state
            one = model._replace(writes=jnp.where(time == 0, writes, model.writes))
            inner = slow.jax_step if temperature is None else weighted_step
            state, output = inner(one, state, given)
            return (time + 1, state), output[0]

        new, start = rx.scheduled_sampling(
            step, (0, model.state), rate=1.0, vocabulary=V, temperature=temperature
        )
        keys = jax.random.split(key, len(targets))
        return jax.lax.scan(new, start, (targets, keys))[1][-1, 0]

    assert jnp.abs(jax.grad(first_write)(model.writes, 0.7)).max() > 1e-3
    assert not jax.grad(first_write)(model.writes, None).any()


def test_the_frequency_of_draws():
    """At five sigma; what is drawn follows the softmax of the step before."""
    count = 20000
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))

    def step(state, token):
        return token, logits

    def one(key):
        new, state = rx.scheduled_sampling(step, jnp.int32(0), rate=0.4, vocabulary=3)
        keys = jax.random.split(key, 2)
        state, _ = new(state, (0, keys[0]))
        return new(state, (2, keys[1]))[0][0]  # the token that was read at the second step

    read = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), count)))
    chances = 0.4 * np.array([0.5, 0.3, 0.2]) + 0.6 * np.array([0, 0, 1])
    found = np.bincount(read, minlength=3) / count
    assert (np.abs(found - chances) < 5 * np.sqrt(chances * (1 - chances) / count)).all()


def constant(state, token):
    return state, jnp.zeros(V)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rx.scheduled_sampling(constant, (), rate=1.5, vocabulary=V),
            ValueError,
            "scheduled_sampling: rate must be at most 1, got 1.5",
        ),
        (
            lambda: rx.scheduled_sampling(constant, (), rate=0.5, vocabulary=V + 1),
            ValueError,
            "scheduled_sampling: vocabulary is 5, but step returns logits for 4",
        ),
        (
            lambda: rx.scheduled_sampling(constant, (), rate=0.5, vocabulary=V, temperature=0.0),
            ValueError,
            "scheduled_sampling: temperature must be above 0",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
