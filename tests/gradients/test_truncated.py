"""`rx.truncated_bptt` against `jax.grad` of a loop in which the cut is written down."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrax as rx
from recurrax.gradients import gradient_agreement
from tests.scan.agreement import QUICK
from tests.support import x64

jit = functools.partial(jax.jit, compiler_options=QUICK)

T, K, D, H = 12, 3, 2, 3


def with_read_out(cell):
    def model(params, xs, *, state, **options):
        state, ys = rx.unroll(cell, params["cell"], xs, state=state, **options)
        return state, ys @ params["out"]

    return model


def loss(params, ys, targets):
    return jnp.sum(jnp.sin(ys * targets)) + jnp.sum(params["out"] ** 2)


class Problem:
    """A cell with a read-out, data, and truth."""

    def __init__(self, cell):
        rng = np.random.default_rng(0)
        self.cell, self.model = cell, with_read_out(cell)
        inner = cell.init(jax.random.key(0), jnp.zeros(D))
        self.params = {"cell": inner, "out": jnp.asarray(rng.normal(size=(H, 2)))}
        self.xs, self.targets = rng.normal(size=(T, D)), rng.normal(size=(T, 2))
        self.state = jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape) / 2, cell.initial_state(inner)
        )

    def chunks(self, tree):
        return jax.tree.map(lambda leaf: leaf.reshape(T // K, K, *leaf.shape[1:]), tree)

    def truth(self, back):
        """Gradients of every chunk's loss, where no gradient passes `back` steps before its end."""

        def of_chunk(n, params):
            state, ys = self.state, []
            for t in range((n + 1) * K):
                if t == max((n + 1) * K - back, 0):
                    state = jax.lax.stop_gradient(state)
                state, y = self.cell.step(params["cell"], state, self.xs[t])
                ys.append(y @ params["out"])
            return loss(params, jnp.stack(ys[-K:]), self.targets[n * K : (n + 1) * K])

        return jit(
            lambda params: [
                jax.value_and_grad(functools.partial(of_chunk, n))(params) for n in range(T // K)
            ]
        )(self.params)

    def run(self, bptt, **options):
        """All chunks under one scan: (values, gradients), stacked, and the carries."""

        def step(carry, inputs):
            xs, targets, options = inputs
            carry, result = bptt.step(self.params, carry, xs, targets, **options)
            return carry, (carry, result)

        inputs = self.chunks((self.xs, self.targets, options))
        first = jax.tree.map(lambda leaf: leaf[0], inputs)
        carry = bptt.init(self.params, first[0], state=self.state, **first[2])
        return jit(lambda: jax.lax.scan(step, carry, inputs)[1])()


def assert_close(got, expected, tolerance=1e-11):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("make", "window"),
    [
        *((lambda: rx.lstm(H), window) for window in (1, 2, 3, 6)),
        (lambda: rx.stack(rx.gru(2), rx.elman(H)), 2),
    ],
)
def test_gradient_of_every_chunk(make, window):
    with x64():
        problem = Problem(make())
        carries, (values, gradients) = problem.run(
            rx.truncated_bptt(problem.model, loss, window=window)
        )
        for n, (value, gradient) in enumerate(problem.truth(window * K)):
            at_n = lambda leaf, n=n: leaf[n]  # noqa: E731
            assert_close((values[n], jax.tree.map(at_n, gradients)), (value, gradient))
            state, _ = rx.unroll(
                problem.cell, problem.params["cell"], problem.xs[: (n + 1) * K], state=problem.state
            )
            assert_close(jax.tree.map(at_n, carries.state), state)


def test_a_window_over_everything_is_full_backpropagation():
    with x64():
        problem = Problem(rx.lstm(H))

        def full(params):
            _, ys = problem.model(params, problem.xs, state=problem.state)
            return jnp.sum(jnp.sin(ys * problem.targets)) + T // K * jnp.sum(params["out"] ** 2)

        exact = jax.grad(full)(problem.params)

        def agreement(window):
            bptt = rx.truncated_bptt(problem.model, loss, window=window)
            _, (_, gradients) = problem.run(bptt)
            return gradient_agreement(jax.tree.map(lambda g: g.sum(0), gradients), exact)

        assert agreement(T // K).relative_error_of_all < 1e-12
        errors = [float(agreement(window).relative_error_of_all) for window in (1, 2)]
        assert errors[0] > errors[1] > 1e-4
        # A read-out's gradient is not cut by anything.
        assert agreement(1).relative_error["out"] < 1e-12


def test_length_resets_and_keys_stay_with_their_chunk():
    """Against one gradient over the sequence, with a window that covers it."""
    with x64():
        problem = Problem(rx.learned_state(rx.zoneout(rx.lstm(H), 0.3)))
        rng = np.random.default_rng(1)
        keys = jax.random.split(jax.random.key(3), T // K)
        lengths = np.array([3, 2, 0, 3])
        resets = rng.random((T // K, K)) < 0.4
        resets[0, 0] = True  # so that the learned initial state has its gradient
        bptt = rx.truncated_bptt(problem.model, loss, window=T // K)

        def chunk(n):
            return {"length": lengths[n], "resets": resets[n], "key": keys[n]}

        xs, targets = problem.chunks((problem.xs, problem.targets))
        step = jit(bptt.step)
        carry = bptt.init(problem.params, xs[0], state=problem.state, **chunk(0))
        total = jax.tree.map(jnp.zeros_like, problem.params)
        for n in range(T // K):
            carry, (_, gradients) = step(problem.params, carry, xs[n], targets[n], **chunk(n))
            total = jax.tree.map(jnp.add, total, gradients)

        def full(params):
            state, value = problem.state, 0.0
            for n in range(T // K):
                state, ys = problem.model(params, xs[n], state=state, **chunk(n))
                value = value + loss(params, ys, targets[n])
            return value

        assert_close(total, jit(jax.grad(full))(problem.params))


def test_what_is_not_there_yet_cannot_spoil():
    """The chunks that init was shown are never computed with, not even NaN of them."""
    with x64():
        problem = Problem(rx.gru(H))
        bptt = rx.truncated_bptt(problem.model, loss, window=3)
        xs, targets = problem.chunks((problem.xs, problem.targets))
        results = []
        for example in (xs[0], np.full_like(xs[0], np.nan)):
            carry = bptt.init(problem.params, example, state=problem.state)
            results.append(jit(bptt.step)(problem.params, carry, xs[0], targets[0])[1])
        assert_close(*results, tolerance=0)


def test_cells_and_models_bring_their_own_initial_state():
    with x64():
        cell, xs = rx.gru(H), np.random.default_rng(0).normal(size=(K, D))
        model = rx.serial(rx.lstm(2), rx.residual(rx.gru(2)))

        def square(params, ys, targets):
            return jnp.sum(ys**2)

        for layer in (cell, model):
            params = layer.init(jax.random.key(0), xs[0] if layer is cell else xs)
            apply = functools.partial(rx.unroll, cell) if layer is cell else model.apply
            for window in (1, 2):
                bptt = rx.truncated_bptt(layer, square, window=window)
                _, got = jit(bptt.step)(params, bptt.init(params, xs), xs)
                whole = jax.value_and_grad(lambda p, run=apply: jnp.sum(run(p, xs)[1] ** 2))
                expected = jit(whole)(params)
                assert_close(got, expected)


def test_training_on_a_batch_is_a_scan():
    """With carried states and optax, chunk by chunk: as if each stream were run alone."""
    with x64():
        problem = Problem(rx.lstm(H))
        optimizer = rx.clipped(optax.sgd(0.01), global_norm=1.0)

        def batched(params, xs, *, state):
            return jax.vmap(lambda xs, s: problem.model(params, xs, state=s))(xs, state)

        streams = np.stack([problem.xs, problem.xs[::-1]]).reshape(2, T // K, K, D)
        targets = np.stack([problem.targets] * 2).reshape(2, T // K, K, 2)
        state = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), problem.state)
        bptt = rx.truncated_bptt(batched, loss)

        @jit
        def train(params):
            def step(carry, inputs):
                params, opt_state, memory = carry
                memory, (value, gradients) = bptt.step(params, memory, *inputs)
                updates, opt_state = optimizer.update(gradients, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state, memory), value

            memory = bptt.init(params, streams[:, 0], state=state)
            inputs = streams.swapaxes(0, 1), targets.swapaxes(0, 1)
            return jax.lax.scan(step, (params, optimizer.init(params), memory), inputs)

        (params, _, memory), values = train(problem.params)
        expected, opt_state, states = problem.params, optimizer.init(problem.params), state
        for n in range(T // K):

            def total(params, n=n, states=states):
                value, after = jnp.sum(params["out"] ** 2), []
                for b in range(2):
                    s = jax.tree.map(lambda leaf, b=b: leaf[b], states)
                    s, ys = problem.model(params, streams[b, n], state=s)
                    value = value + jnp.sum(jnp.sin(ys * targets[b, n]))
                    after.append(s)
                return value, jax.tree.map(lambda *leaves: jnp.stack(leaves), *after)

            (value, states), gradients = jit(jax.value_and_grad(total, has_aux=True))(expected)
            assert_close(values[n], value)
            updates, opt_state = optimizer.update(gradients, opt_state, expected)
            expected = optax.apply_updates(expected, updates)
        assert_close((params, memory.state), (expected, states))


def test_errors_teach():
    def square(params, ys, targets):
        return jnp.sum(ys**2)

    cell = rx.gru(2)
    params = cell.init(jax.random.key(0), jnp.ones(3))
    with pytest.raises(TypeError, match="loss must be a function, got 'mse'"):
        rx.truncated_bptt(cell, "mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        rx.truncated_bptt(cell, square, window=0)
    with pytest.raises(TypeError, match="functions init, initial_state and step, got 3"):
        rx.truncated_bptt(3, square)

    def step(params, xs, *, state):
        return state, xs

    with pytest.raises(TypeError, match=r"truncated_bptt\(step, window=1\).init: state must be"):
        rx.truncated_bptt(step, square).init(params, jnp.ones((4, 3)))
    bptt = rx.truncated_bptt(cell, square, window=2)
    assert repr(bptt) == "truncated_bptt(gru(2), window=2)"
    carry = bptt.init(params, jnp.ones((4, 3)))
    with pytest.raises(TypeError, match=r"step: carry must be the TruncatedState .*, got Array"):
        bptt.step(params, carry.state, jnp.ones((4, 3)))
    with pytest.raises(TypeError, match="must have the structure that init was given"):
        bptt.step(params, carry, jnp.ones((4, 3)), length=2)
    with pytest.raises(ValueError, match=r"chunks must be alike.*\(4, 3\), got .*\(5, 3\)"):
        bptt.step(params, carry, jnp.ones((5, 3)))


def test_agreement():
    exact = {"w": jnp.array([[3.0, 4.0]]), "b": jnp.array(2.0)}
    estimate = {"w": jnp.array([[3.0, 0.0]]), "b": jnp.array(-2.0)}
    agreement = gradient_agreement(estimate, exact)
    np.testing.assert_allclose(agreement.cosine["w"], 9 / 15, rtol=1e-6)
    np.testing.assert_allclose(agreement.cosine["b"], -1, rtol=1e-6)
    np.testing.assert_allclose(agreement.relative_error["w"], 4 / 5, rtol=1e-6)
    np.testing.assert_allclose(agreement.relative_error["b"], 2, rtol=1e-6)
    np.testing.assert_allclose(agreement.cosine_of_all, (9 - 4) / np.sqrt(13 * 29), rtol=1e-6)
    np.testing.assert_allclose(agreement.relative_error_of_all, np.sqrt(32 / 29), rtol=1e-6)
    vanished = jax.tree.map(lambda leaf: 1e-30 * leaf, (estimate, exact))
    again = gradient_agreement(*vanished)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), again, agreement)
    ones = jnp.ones(3000, jnp.bfloat16)
    narrow = gradient_agreement(ones, ones)
    np.testing.assert_allclose(narrow.cosine, 1, rtol=1e-6)
    assert narrow.relative_error == 0
    with pytest.raises(ValueError, match="estimate must have the structure of exact"):
        gradient_agreement(estimate, exact["w"])
