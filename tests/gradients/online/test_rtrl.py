"""RTRL is backpropagation's gradient for every cell; what it keeps is what the structure says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import recurrax as rx
from recurrax.gradients.online import online_value_and_grad
from tests.cells.registry import REGISTRY
from tests.gradients.online.sequences import (
    assert_close,
    by_backpropagation,
    count,
    jit,
    kept,
    loss,
    sequence,
)
from tests.support import x64


def tied(features):
    """One matrix that is used for the input, the state and, transposed, the output."""

    def init(key, x):
        return {"w": jax.random.normal(key, (features, features), x.dtype) / 2}

    def step(params, h, x):
        h = jnp.tanh(x @ params["w"] + h @ params["w"] + 0.1)
        return h, h @ params["w"].T

    return rx.Cell(init, lambda params: jnp.zeros(features), step, name="tied")


MODELS = {
    "tied": (lambda: tied(3), 3),
    "lstm_gru": (lambda: rx.stack(rx.lstm(3), rx.gru(2)), 2),
    "indrnn_lru_dense": (
        lambda: rx.stack(rx.indrnn(3), rx.lru(2, state=3, max_phase=1.5), rx.dense(2)),
        2,
    ),
    "learned_state": (lambda: rx.learned_state(rx.gru(3)), 2),
    "int_in_state": (lambda: rx.clockwork(4, (1, 2)), 2),
}
# The registry's models in one file would take a minute; those with a structure of their own here.
QUICK = {"elman", "lstm", "gru", "indrnn", "lru", "rg_lru_blocks", "s4d", "mlstm", "dense"}
CASES = [
    pytest.param(e.make, e.width, id=e.name, marks=() if e.name in QUICK else pytest.mark.slow)
    for e in REGISTRY
] + [pytest.param(*model, id=name) for name, model in MODELS.items()]


@pytest.mark.parametrize(("make", "width"), CASES)
def test_sparse_is_backpropagation(make, width):
    with x64():
        seq = sequence(make, width)
        forward = online_value_and_grad(rx.rtrl(seq.cell), loss)
        got, expected = jit(
            lambda params: (
                forward(params, seq.xs, seq.weights),
                by_backpropagation(seq, params),
            )
        )(seq.params)
        assert_close(got, expected)


@pytest.mark.parametrize("name", ["lstm_gru", "indrnn_lru_dense"])
def test_dense_is_backpropagation_and_n_P_numbers(name):
    with x64():
        seq = sequence(*MODELS[name])
        learner = rx.rtrl(seq.cell, sparse=False)
        got = jit(online_value_and_grad(learner, loss))(seq.params, seq.xs, seq.weights)
        assert_close(got, jit(lambda p: by_backpropagation(seq, p))(seq.params))
        n, total = (count(tree) for tree in (seq.cell.initial_state(seq.params), seq.params))
        assert kept(learner, seq) == n * total


def test_structure_does_not_depend_on_values():
    """A recurrence that is diagonal by its numbers alone is kept dense, and stays right."""
    with x64():
        seq = sequence(lambda: rx.elman(3), 2)
        diagonal = seq.params._replace(w_h=np.diag([0.3, 0.5, 0.0]))
        learner = rx.rtrl(seq.cell)
        assert kept(learner, seq._replace(params=diagonal)) == kept(learner, seq)
        got = jit(online_value_and_grad(learner, loss))(diagonal, seq.xs, seq.weights)
        assert_close(got, jit(lambda p: by_backpropagation(seq, p))(diagonal))


def test_state_that_is_given_is_constant_and_noise_is_the_same():
    with x64():
        seq = sequence(lambda: rx.learned_state(rx.zoneout(rx.lstm(3), 0.3)), 2)
        state = jax.tree.map(lambda leaf: leaf + 0.3, seq.cell.initial_state(seq.params))
        key = jax.random.key(4)
        of_cell = jax.random.split(key)[1]
        forward = online_value_and_grad(rx.rtrl(seq.cell), loss)
        got = jit(forward)(seq.params, seq.xs, seq.weights, state=state, key=key)
        assert_close(got, by_backpropagation(seq, seq.params, state, of_cell))


def test_loss_of_the_state_and_gradient_outside_of_jit():
    with x64():
        seq = sequence(lambda: rx.lstm(3), 2)
        learner = rx.rtrl(seq.cell)
        step = jit(learner.step)
        memory = learner.init(seq.params, seq.xs[0])
        for x in seq.xs:
            memory, y, gradient = step(seq.params, memory, x)

        def last(params):
            state, ys = rx.unroll(seq.cell, params, seq.xs)
            return jnp.sum(state.c**3) + jnp.sum(ys[-1] ** 2)

        c, h = memory.state
        got = gradient(2 * y, memory.state._replace(c=3 * c**2, h=jnp.zeros_like(h)))
        assert_close(got, jax.grad(last)(seq.params))


def test_params_may_move_at_every_step():
    """Online learning itself: J is carried through steps that were run with unlike params."""
    with x64():
        seq = sequence(lambda: rx.gru(3), 2)
        learner, optimizer = rx.rtrl(seq.cell), optax.adam(0.1)

        def train(params):
            def step(carry, inputs):
                params, opt_state, memory = carry
                x, weights = inputs
                memory, y, gradient = learner.step(params, memory, x)
                d_params = gradient(jax.grad(loss)(y, weights))
                updates, opt_state = optimizer.update(d_params, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state, memory), y

            carry = params, optimizer.init(params), learner.init(params, seq.xs[0])
            return jax.lax.scan(step, carry, (seq.xs, seq.weights))[0][0]

        def by_definition(params):
            theta, params_of = ravel_pytree(params)
            state = seq.cell.initial_state(params)
            influence, opt_state = jnp.zeros((3, theta.size)), optimizer.init(theta)
            for x, weights in zip(seq.xs, seq.weights, strict=True):

                def step(theta, state, x=x):
                    return seq.cell.step(params_of(theta), state, x)[0]

                b, d = jax.jacfwd(step, argnums=(0, 1))(theta, state)
                state, influence = step(theta, state), d @ influence + b
                updates, opt_state = optimizer.update(
                    jax.grad(loss)(state, weights) @ influence, opt_state, theta
                )
                theta = optax.apply_updates(theta, updates)
            return params_of(theta)

        params = jax.tree.map(jnp.asarray, seq.params)
        assert_close(jit(train)(params), jit(by_definition)(params), 1e-9)


def test_batch_by_vmap():
    with x64():
        seq = sequence(lambda: rx.gru(3), 2)
        forward = online_value_and_grad(rx.rtrl(seq.cell), loss)
        xs, weights = np.stack([seq.xs, -seq.xs]), np.stack([seq.weights] * 2)
        got = jax.vmap(forward, (None, 0, 0))(seq.params, xs, weights)
        for b in range(2):
            expected = by_backpropagation(seq._replace(xs=xs[b]), seq.params)
            assert_close(jax.tree.map(lambda leaf, b=b: leaf[b], got), expected)


def test_low_precision_keeps_its_dtypes_and_sums_in_float32():
    cell, x = rx.lstm(3), jnp.ones(2, jnp.bfloat16)
    learner = rx.rtrl(cell)

    def one_step(key):
        params = cell.init(key, x)
        before = learner.init(params, x)
        after, y, gradient = learner.step(params, before, x)
        return before, after, gradient(y)

    before, after, gradients = jax.eval_shape(one_step, jax.random.key(0))
    assert before == after
    assert {leaf.dtype for leaf in jax.tree.leaves(after.influence)} == {jnp.dtype(jnp.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype(jnp.bfloat16)}


def test_errors_teach():
    cell = rx.gru(3)
    params = cell.init(jax.random.key(0), jnp.ones(2))
    learner = rx.rtrl(cell)
    assert repr(learner) == "rtrl(gru(3))"
    with pytest.raises(TypeError, match=r"rtrl\(gru\(3\)\): memory must be the OnlineState"):
        learner.step(params, cell.initial_state(params), jnp.ones(2))
    with pytest.raises(ValueError, match=r"rtrl\(gru\(3\)\): state must have the shape \(3,\)"):
        learner.init(params, jnp.ones(2), state=jnp.zeros(4))
    with pytest.raises(TypeError, match="cell: expected an object with functions init"):
        rx.rtrl(3)
    with pytest.raises(TypeError, match="loss must be a function, got 'mse'"):
        online_value_and_grad(learner, "mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rtrl\(gru\(3\)\): xs must have at least one step"):
        online_value_and_grad(learner, loss)(params, jnp.ones((0, 2)))
    counting = rx.Cell(
        lambda key, x: jnp.ones(2, jnp.int32),
        lambda params: jnp.zeros(2),
        lambda params, state, x: (state + x, state),
    )
    with pytest.raises(TypeError, match="params must be floating, got a leaf of int32"):
        rx.rtrl(counting).init(jnp.ones(2, jnp.int32), jnp.ones(2))
