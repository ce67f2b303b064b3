"""Jacobians and Lyapunov exponents against loops over steps, and linear systems in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import assert_close
from tests.gradients.test_diagnostics import T, case, jitted
from tests.support import x64


def linear(matrix):
    size = len(matrix)
    return rx.Cell(lambda k, x: None, lambda p: jnp.zeros(size), lambda p, s, x: (matrix @ s, s))


@pytest.mark.parametrize("name", ["lstm", "stack"])
@x64()
def test_jacobians_and_their_products(name):
    cell, params, xs = case(name)
    got = jitted(lambda p, xs: rx.state_jacobians(cell, p, xs))(params, xs)
    products = rx.jacobian_products(got)
    jacobian = jax.jit(jax.jacrev(lambda s, x: cell.step(params, s, x)[0]))
    state, product = cell.initial_state(params), None
    for t in range(T):
        tree = jacobian(state, xs[t])
        rows = jax.tree.leaves(state)
        blocks = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        blocks = [blocks[n * len(rows) : (n + 1) * len(rows)] for n in range(len(rows))]
        expected = np.block(blocks)
        assert_close(got[t], expected, 1e-11)
        product = expected if product is None else expected @ product
        values = np.linalg.svd(product, compute_uv=False)
        found = np.exp(products.log_singular_values()[t])
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12 * values[0])
        np.testing.assert_allclose(np.max(np.abs(products.scaled[t])), 1, rtol=1e-15)
        state, _ = cell.step(params, state, xs[t])


def test_products_neither_overflow_nor_underflow():
    for factor in (1e-3, 1e3):
        jacobians = jnp.broadcast_to(factor * jnp.eye(3), (50, 3, 3))
        logs = rx.jacobian_products(jacobians).log_singular_values()
        expected = np.log(factor) * np.arange(1, 51)[:, None] * np.ones(3)
        np.testing.assert_allclose(logs, expected, rtol=1e-5)
    nothing = rx.jacobian_products(jnp.zeros((2, 3, 3)))
    assert np.all(np.isneginf(nothing.log_singular_values()))


@x64()
def test_lyapunov_spectrum_of_a_known_system():
    """Of a fixed matrix, the logarithms of its eigenvalues' absolute values; a rotation has 0."""
    rng = np.random.default_rng(2)
    basis = rng.normal(size=(4, 4))
    matrix = basis @ np.diag([1.5, 0.9, -0.5, 0.1]) @ np.linalg.inv(basis)
    spectrum = jitted(lambda: rx.lyapunov_spectrum(linear(matrix), None, jnp.zeros(2000)))()
    np.testing.assert_allclose(spectrum.exponents, np.log([1.5, 0.9, 0.5, 0.1]), rtol=0, atol=5e-3)
    # From the middle on it has settled: the difference of sums is exact.
    running = np.asarray(spectrum.running)
    settled = (2000 * running[-1] - 1000 * running[999]) / 1000
    np.testing.assert_allclose(settled, np.log([1.5, 0.9, 0.5, 0.1]), rtol=0, atol=1e-10)
    fewer = rx.lyapunov_spectrum(linear(matrix), None, jnp.zeros(50), directions=2)
    np.testing.assert_allclose(fewer.running, running[:50, :2], rtol=1e-9)
    diagonal = rx.lyapunov_spectrum(linear(np.diag([0.1, 2.0])), None, jnp.zeros(99), directions=1)
    np.testing.assert_allclose(diagonal.exponents, np.log(2), atol=0.01)
    turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    still = rx.lyapunov_spectrum(linear(turn), None, jnp.zeros(20))
    np.testing.assert_allclose(still.exponents, 0, atol=1e-14)


@x64()
def test_lyapunov_exponents_add_up_to_the_logarithm_of_the_determinant():
    cell, params, xs = case("gru")
    jacobians = rx.state_jacobians(cell, params, xs)
    expected = np.linalg.slogdet(jacobians)[1].sum() / T
    for key in (None, jax.random.key(0)):
        spectrum = rx.lyapunov_spectrum(cell, params, xs, key=key)
        np.testing.assert_allclose(spectrum.exponents.sum(), expected, rtol=1e-10)


def test_numbers_of_python_and_bfloat16():
    """Decompositions run in float32; the state keeps its own type."""
    half = rx.Cell(lambda k, x: 0.5, lambda p: 1.0, lambda p, s, x: (p * s + x, s))
    spectrum = rx.lyapunov_spectrum(half, 0.5, jnp.zeros(3))
    np.testing.assert_allclose(spectrum.exponents, [np.log(0.5)], rtol=1e-6)
    matrix = jnp.array([[0.5, 0.25], [0.0, 2.0]], jnp.bfloat16)
    step = lambda p, s, x: (matrix @ s, s)  # noqa: E731
    narrow = rx.Cell(lambda k, x: None, lambda p: jnp.ones(2, jnp.bfloat16), step)
    xs = jnp.zeros(2)
    spectrum = rx.lyapunov_spectrum(narrow, 0, xs)
    np.testing.assert_allclose(spectrum.exponents.sum(), 0, atol=1e-2)
    values = rx.jacobian_products(rx.state_jacobians(narrow, 0, xs)).log_singular_values()
    exact = np.asarray(matrix, np.float64)
    expected = [np.linalg.svd(np.linalg.matrix_power(exact, n), compute_uv=False) for n in (1, 2)]
    np.testing.assert_allclose(values, np.log(expected), rtol=1e-5)


def test_errors_teach():
    with pytest.raises(ValueError, match=r"jacobians must be \[T, N, N\]"):
        rx.jacobian_products(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="directions must be at most N = 2"):
        rx.lyapunov_spectrum(linear(np.eye(2)), None, jnp.zeros(3), directions=3)
    with pytest.raises(ValueError, match="at least one step"):
        rx.lyapunov_spectrum(linear(np.eye(2)), None, jnp.zeros(0))
    counter = rx.Cell(lambda k, x: None, lambda p: jnp.zeros((), int), lambda p, s, x: (s + 1, s))
    with pytest.raises(TypeError, match="leaves of real floats, got int"):
        rx.state_jacobians(counter, 0, jnp.zeros(3))
