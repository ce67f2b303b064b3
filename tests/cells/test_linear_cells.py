"""What the linear recurrences promise beyond the contract: where they start, and other forms."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.cells.s5 import hippo_normal
from recurrax.initializers import ring
from tests.support import x64

KEY = jax.random.key(0)


def test_the_ring_is_uniform_in_area_and_phase():
    """Within 5 standard errors, of sqrt(1 / 12 n) for a uniform variable's mean."""
    n, (low, high, phase) = 4000, (0.4, 0.9, 1.2)
    nu_log, theta_log = np.asarray(ring(low, high, phase)(KEY, (2, n)), np.float64)
    squared = (np.exp(-2 * np.exp(nu_log)) - low**2) / (high**2 - low**2)
    for uniform in (squared, np.exp(theta_log) / phase):
        assert -1e-6 < uniform.min() < 0.01
        assert 0.99 < uniform.max() < 1 + 1e-6
        assert abs(uniform.mean() - 0.5) < 5 / math.sqrt(12 * n)
    disc = ring()(KEY, (2, n))
    assert np.isfinite(disc).all()


def test_lru_keeps_the_variance_of_its_input():
    """gamma = sqrt(1 - |lambda|^2) as it starts, and decays on the ring."""
    params = rx.lru(2, state=50, r_min=0.8, r_max=0.95).init(KEY, jnp.ones(3))
    modulus = np.exp(-np.exp(np.asarray(params.nu_log, np.float64)))
    assert modulus.min() > 0.8
    assert modulus.max() < 0.95
    np.testing.assert_allclose(np.exp(params.gamma_log), np.sqrt(1 - modulus**2), rtol=1e-5)


def test_rg_lru_starts_between_its_decays():
    params = rx.rg_lru(500, a_min=0.5, a_max=0.8).init(KEY, jnp.ones(500))
    decay = (1 / (1 + np.exp(-np.asarray(params.lam, np.float64)))) ** 8
    assert 0.5 - 1e-5 < decay.min() < 0.51
    assert 0.79 < decay.max() < 0.8 + 1e-5


def test_a_shut_rg_lru_has_no_gradient_rather_than_nan():
    cell = rx.rg_lru(2)
    params = cell.init(KEY, jnp.ones(2))
    shut = params._replace(b_a=jnp.full(2, -1e4))
    h = jnp.array([0.3, -0.4])
    gradient = jax.grad(lambda p, h: cell.step(p, h, jnp.ones(2))[1].sum(), (0, 1))(shut, h)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    np.testing.assert_array_equal(cell.step(shut, h, jnp.ones(2))[1], h)


def test_min_lstm_stays_finite_where_both_gates_vanish():
    """f / (f + i) of gates that are 0 in float32 but e^-200 and e^-202."""
    cell = rx.min_lstm(1)
    params = cell.init(KEY, jnp.ones(1))
    params = params._replace(w=jnp.zeros((1, 3)), b=jnp.array([-200.0, -202.0, 5.0]))
    h = cell.step(params, jnp.ones(1), jnp.ones(1))[0]
    keep = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(h, keep + (1 - keep) * 5, rtol=1e-6)


@pytest.mark.parametrize("spectrum", ["lin", "inv"])
@x64()
def test_s4d_is_the_convolution_with_its_kernel(spectrum):
    """K_l = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n)^l, as the paper trains it."""
    features, half, steps = 3, 4, 12
    cell = rx.s4d(features, state=2 * half, spectrum=spectrum)
    xs = jax.random.normal(KEY, (steps, features))
    params = cell.init(KEY, xs[0])
    n = np.arange(half)
    imaginary = {"lin": np.pi * n, "inv": 2 * half / np.pi * (2 * half / (2 * n + 1) - 1)}
    a = -0.5 + 1j * imaginary[spectrum]
    dt_a = np.exp(np.asarray(params.dt_log))[:, None] * a
    c = np.asarray(params.c_re) + 1j * np.asarray(params.c_im)
    powers = np.exp(dt_a[..., None] * np.arange(steps))
    kernel = 2 * np.einsum("hn,hnl->hl", c * (np.exp(dt_a) - 1) / a, powers).real
    expected = np.stack(
        [np.convolve(kernel[h], xs[:, h])[:steps] + params.d[h] * xs[:, h] for h in range(features)]
    ).T
    np.testing.assert_allclose(rx.unroll(cell, params, xs)[1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3])
@x64()
def test_s5_is_the_real_system_in_its_eigenvectors(blocks):
    """s' = A s + B x, y = C s with HiPPO-N as a real matrix, or blocks of it, by exponentials."""
    features, n, steps = 2, 6, 9
    cell = rx.s5(features, state=n, blocks=blocks, dt_min=0.1, dt_max=0.1)
    xs = np.asarray(jax.random.normal(KEY, (steps, features)))
    params = cell.init(KEY, xs[0])
    order = np.arange(n // blocks)
    outer = np.sqrt(np.outer(2 * order + 1, 2 * order + 1))
    legs = -np.tril(outer, -1) - np.diag(order + 1.0)
    a = legs + outer / 2  # the matrix of HiPPO-LegS, its low-rank part taken away
    values, vectors = hippo_normal(n // blocks)
    np.testing.assert_allclose(a @ vectors, vectors * values, atol=1e-12)
    a, vectors = (np.kron(np.eye(blocks), matrix) for matrix in (a, vectors))
    b = 2 * (vectors @ (np.asarray(params.b_re) + 1j * np.asarray(params.b_im)).T).real
    c = 2 * ((np.asarray(params.c_re) + 1j * np.asarray(params.c_im)).T @ vectors.conj().T).real
    decay = np.asarray(jax.scipy.linalg.expm(jnp.asarray(0.1 * a)))
    held = np.linalg.solve(a, (decay - np.eye(n)) @ b)
    s, expected = np.zeros(n), []
    for x in xs:
        s = decay @ s + held @ x
        expected.append(c @ s + np.asarray(params.d) * x)
    np.testing.assert_allclose(rx.unroll(cell, params, jnp.asarray(xs))[1], expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rx.lru(3, state=0), "state must be at least 1"),
        (lambda: rx.lru(3, r_min=0.9, r_max=0.5), "0 <= r_min < r_max <= 1, got 0.9 and 0.5"),
        (lambda: rx.lru(3, max_phase=7.0), r"max_phase must be in \(0, 2 pi\], got 7.0"),
        (lambda: ring()(KEY, (3, 4)), r"shape must be that of two rows, .*got \(3, 4\)"),
        (lambda: rx.rg_lru(4, blocks=3), "features must divide into 3 blocks, got 4"),
        (lambda: rx.rg_lru(4, a_max=1.0), "0 < a_min <= a_max < 1, got 0.9 and 1.0"),
        (lambda: rx.s4d(4, state=5), "state must be even.* got 5"),
        (lambda: rx.s4d(4, spectrum="legs"), "spectrum must be 'lin' or 'inv', got 'legs'"),
        (lambda: rx.s5(4, state=12, blocks=4), "state must divide into 4 even blocks, got 12"),
        (lambda: rx.s5(4, dt_min=1.0), "dt_min must be at most dt_max=0.1, got 1.0"),
        (lambda: rx.s5(4).init(KEY, jnp.ones(3)), "x must be as wide as the output, D = H = 4"),
        (lambda: rx.rg_lru(4).init(KEY, jnp.ones(3)), r"put rx.dense\(4\) in front"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
