"""Implicit gradients against those of many unrolled steps, and reports that tell the truth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close
from tests.scan.agreement import QUICK
from tests.support import x64

jitted = functools.partial(jax.jit, compiler_options=QUICK)
D, H, STEPS = 3, 5, 400
TIGHT = {"tolerance": 1e-13, "max_steps": 5000}


def contracting(name, seed=0):
    """A cell whose step contracts, its params, and an input, in float64."""
    make = {
        "elman": lambda: rx.elman(H),
        "gru": lambda: rx.gru(H),
        "lstm": lambda: rx.lstm(H, forget_bias=-1.0),
        "stack": lambda: rx.stack(rx.elman(4), rx.gru(3)),
    }
    cell = make[name]()
    rng = np.random.default_rng(seed)
    params = cell.init(jax.random.key(seed), jnp.zeros(D))
    params = jax.tree.map(lambda w: 0.7 * w + 0.1 * rng.normal(size=w.shape), params)
    return cell, params, rng.normal(size=D)


def unrolled(cell, params, x, steps=STEPS):
    state, ys = rx.unroll(cell, params, jnp.broadcast_to(x, (steps, *x.shape)))
    return state, ys[-1]


def scalar(state, y):
    return sum(jnp.sum(jnp.sin(leaf + 0.3)) for leaf in jax.tree.leaves((state, y)))


@pytest.mark.parametrize("name", ["lstm", "stack"])
@x64()
def test_agrees_with_unrolled(name):
    cell, params, x = contracting(name)

    def implicit(params, x):
        found = rx.fixed_point(cell, params, x, **TIGHT)
        return scalar(found.state, found.output)

    def through_time(params, x):
        return scalar(*unrolled(cell, params, x))

    def everything(loss, params, x):
        gradient = jax.grad(loss, (0, 1))
        slope = jax.jvp(loss, (params, x), (params, x))
        batched = jax.vmap(gradient, (None, 0))(params, jnp.stack([x, -x, 2 * x]))
        return gradient(params, x), slope, batched

    got, expected = (
        jitted(functools.partial(everything, loss))(params, x) for loss in (implicit, through_time)
    )
    assert_close(got, expected, 1e-9)


@x64()
def test_second_derivatives_agree_with_unrolled():
    cell, params, x = contracting("elman")

    def hessian(loss):
        return jitted(jax.hessian(loss))(x)

    def implicit(x):
        return scalar(*rx.fixed_point(cell, params, x, **TIGHT)[:2])

    assert_close(
        hessian(implicit), hessian(lambda x: scalar(*unrolled(cell, params, x, 200))), 1e-8
    )


@x64()
def test_linear_system_in_closed_form():
    """s* = (I - A)^-1 B x, and nothing of it depends on where the steps began."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 4)) / 5, rng.normal(size=(4, 3))
    x, weight = rng.normal(size=3), rng.normal(size=4)
    cell = rx.Cell(lambda k, x: None, lambda p: jnp.zeros(4), lambda p, s, x: (p @ s + b @ x, s))

    def loss(a, x, state):
        return weight @ rx.fixed_point(cell, a, x, state=state, **TIGHT).state

    inverse = np.linalg.inv(np.eye(4) - a)
    rest = inverse @ b @ x
    found = rx.fixed_point(cell, a, x, state=rng.normal(size=4), **TIGHT)
    assert_close(found.state, rest, 1e-11)
    adjoint = inverse.T @ weight
    of_a, of_x, of_state = jax.grad(loss, (0, 1, 2))(a, x, rng.normal(size=4))
    assert_close((of_a, of_x), (np.outer(adjoint, rest), b.T @ adjoint), 1e-10)
    np.testing.assert_array_equal(of_state, 0)


@x64()
def test_report_is_true():
    cell, params, x = contracting("gru")
    find = functools.partial(rx.fixed_point, cell, params, x)
    found = find(tolerance=1e-6)
    again = cell.step(params, found.state, x)[0]
    residual = np.linalg.norm(again - found.state) / (1 + np.linalg.norm(found.state))
    np.testing.assert_allclose(found.residual, residual, rtol=1e-6)
    assert bool(found.converged)
    assert residual <= 1e-6
    steps = int(found.steps)
    by_hand, _ = unrolled(cell, params, x, steps)
    assert_close(found.state, by_hand, 1e-12)
    before, _ = unrolled(cell, params, x, steps - 1)
    assert np.linalg.norm(by_hand - before) / (1 + np.linalg.norm(before)) > 1e-6
    short = find(tolerance=1e-6, max_steps=steps - 1)
    assert not bool(short.converged)
    assert int(short.steps) == steps - 1
    at_rest = find(state=find(tolerance=1e-12).state, tolerance=1e-6)
    assert int(at_rest.steps) == 0


def test_what_has_not_converged_has_no_gradient():
    doubling = rx.Cell(lambda k, x: None, lambda p: jnp.ones(()), lambda p, s, x: (p * s + x, s))

    def rest(p, x, **options):
        return rx.fixed_point(doubling, p, x, **options)

    def gradient(p, x, **options):
        return jax.grad(lambda p: rest(p, x, **options).state)(p)

    grown = rest(2.0, 1.0)
    assert not bool(grown.converged)
    assert np.isnan(gradient(2.0, 1.0))
    # It rests where it starts, but what is near it goes away: the adjoint does not converge.
    assert bool(rest(-2.0, 3.0).converged)
    assert np.isnan(gradient(-2.0, 3.0))
    assert np.isnan(gradient(0.99, 1.0, max_steps=20))
    np.testing.assert_allclose(gradient(0.5, 1.0), 4.0, rtol=1e-4)
    # The steps that the forward loop takes more of are not the backward one's.
    both = jax.vmap(lambda p: rest(p, 1.0).steps)(jnp.array([0.0, 0.5, 0.9]))
    np.testing.assert_array_equal(both, [int(rest(p, 1.0).steps) for p in (0.0, 0.5, 0.9)])


def test_memory_does_not_grow_with_the_steps():
    cell = rx.elman(16)
    params = cell.init(jax.random.key(0), jnp.ones(4))

    def bytes_of(max_steps):
        def loss(params, x):
            return rx.fixed_point(cell, params, x, max_steps=max_steps).state.sum()

        compiled = jax.jit(jax.grad(loss)).lower(params, jnp.ones(4)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(10) == bytes_of(100_000)


def test_errors_teach():
    cell = rx.elman(3)
    params = cell.init(jax.random.key(0), jnp.ones(2))
    with pytest.raises(ValueError, match="fixed_point: tolerance must be a number > 0"):
        rx.fixed_point(cell, params, jnp.ones(2), tolerance=0)
    with pytest.raises(ValueError, match="fixed_point: max_steps must be at least 1"):
        rx.fixed_point(cell, params, jnp.ones(2), max_steps=0)
    counter = rx.Cell(lambda k, x: None, lambda p: 0, lambda p, s, x: (s + 1, s))
    with pytest.raises(TypeError, match="must be floating, got int32"):
        rx.fixed_point(counter, None, None)
    with pytest.raises(ValueError, match="must have the shape"):
        rx.fixed_point(cell, params, jnp.ones(2), state=jnp.ones(4))
    grows = rx.Cell(
        lambda k, x: None, lambda p: jnp.ones(2), lambda p, s, x: (jnp.append(s, 1.0), s)
    )
    with pytest.raises(ValueError, match="changed the shape"):
        rx.fixed_point(grows, None, None)
