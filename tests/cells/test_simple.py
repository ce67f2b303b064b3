"""What the simple cells and the GRU's relatives promise beyond the contract."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.support import x64

X = jnp.array([0.3, -0.2, 0.5])

# Products of one step that must follow each other: the least that a loop can hold.
PRODUCTS = [
    (rx.irnn(4), 1),
    (rx.jordan(4, 2), 2),
    (rx.indrnn(4), 0),
    (rx.antisymmetric(4), 1),
    (rx.antisymmetric(4, gated=True), 1),
    (rx.rhn(4, 1), 1),
    (rx.rhn(4, 3), 3),
    (rx.rhn(4, 3, coupled=False), 3),
    (rx.cornn(4), 1),
    (rx.lem(4), 2),
    (rx.clockwork(6, (1, 2, 4)), 1),
    (rx.ugrnn(4), 1),
    (rx.mgu(4), 1),
    (rx.mgu(4, reset_after=False), 2),
    (rx.layer_norm_gru(4), 1),
]


def fresh(cell, x=X):
    params = cell.init(jax.random.key(0), x)
    return params, cell.initial_state(params)


@pytest.mark.parametrize(("cell", "products"), PRODUCTS, ids=lambda value: str(value))
def test_products_in_the_loop(cell, products):
    """Forward and backward; the input's product is never among them."""
    params, state = fresh(cell)
    report = rx.scan_report(lambda s, x: cell.step(params, s, x), state, jnp.ones((5, 3)))
    assert report.forward == (products + 1, products)
    assert report.backward is not None
    assert report.backward.left == products


def test_irnn_starts_as_a_sum():
    cell = rx.irnn(3, w_x_init=rx.initializers.identity)
    params, _ = fresh(cell)
    xs = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(rx.unroll(cell, params, xs)[1], np.cumsum(xs, 0))
    scaled = rx.irnn(3, scale=0.01).init(jax.random.key(0), X)
    np.testing.assert_allclose(scaled.w_h, 0.01 * np.eye(3))
    wide = rx.irnn(200).init(jax.random.key(0), jnp.ones(200)).w_x
    np.testing.assert_allclose(wide.std(), 1e-3, rtol=0.02)  # 4 standard errors of 40,000 draws


def test_identity_is_of_a_matrix():
    wide = rx.initializers.identity(jax.random.key(0), (2, 3), "bfloat16")
    assert wide.dtype == "bfloat16"
    np.testing.assert_array_equal(wide, [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match=r"identity: shape must be that of a matrix, got \(4,\)"):
        rx.initializers.identity(jax.random.key(0), (4,))


def test_neurons_of_indrnn_are_independent():
    cell = rx.indrnn(4)
    params, _ = fresh(cell)
    assert ((params.u >= 0) & (params.u < 1)).all()
    jacobian = jax.jacobian(lambda h: cell.step(params._replace(b=jnp.ones(4)), h, X)[0])
    np.testing.assert_allclose(jacobian(jnp.ones(4)), np.diag(params.u))


@pytest.mark.parametrize("gated", [False, True])
def test_antisymmetric_is_an_euler_step_without_growth(gated):
    """At h = 0, x = 0 the Jacobian of tanh's argument is A, whose eigenvalues lie at -gamma."""
    epsilon, gamma = 0.25, 0.5
    cell = rx.antisymmetric(4, epsilon, gamma, gated=gated)
    params, h = fresh(cell)
    jacobian = jax.jacobian(lambda h: cell.step(params, h, jnp.zeros(3))[0])(h)
    gate = 0.5 if gated else 1.0
    eigenvalues = np.linalg.eigvals((np.asarray(jacobian) - np.eye(4)) / (epsilon * gate))
    np.testing.assert_allclose(eigenvalues.real, -gamma, atol=1e-5)
    assert np.abs(eigenvalues.imag).max() > 0.1


@pytest.mark.parametrize("coupled", [True, False])
def test_a_fresh_highway_carries_its_state(coupled):
    """With h = tanh(0) = 0, a layer hands on the share c of its state, the same in both forms."""
    cell = rx.rhn(3, 2, coupled=coupled, transform_bias=-3.0)
    params = cell.init(jax.random.key(0), X)
    params = params._replace(w_x=jnp.zeros_like(params.w_x), w_h=jnp.zeros_like(params.w_h))
    y = jnp.array([0.4, -0.8, 1.0])
    kept = jax.nn.sigmoid(3.0) ** 2
    np.testing.assert_allclose(cell.step(params, y, X)[0], kept * y, rtol=1e-6)


def test_an_undriven_oscillator_swings_with_its_period():
    """y'' = -gamma y - epsilon y' has the period 2 pi / sqrt(gamma) without damping, and comes to
    rest without a swing where epsilon = 2 sqrt(gamma).
    """
    dt, gamma, y0 = 1e-3, 4.0, rx.CoRNNState(jnp.ones(1), jnp.zeros(1))
    xs = jnp.zeros((round(np.pi / dt), 1))  # one period
    for epsilon, swing in [(1e-6, 1.0), (4.0, 0.0)]:
        cell = rx.cornn(1, dt=dt, gamma=gamma, epsilon=epsilon)
        params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), xs[0]))
        _, ys = rx.unroll(cell, params, xs, state=y0)
        np.testing.assert_allclose([ys.min(), ys[-1, 0]], [-swing, swing], atol=0.02)


def test_lem_with_closed_gates_holds_and_with_open_ones_forgets():
    """dt = 1: an open gate replaces y and z, a closed one keeps them."""
    cell = rx.lem(2)
    params = cell.init(jax.random.key(0), X)
    state = rx.LEMState(jnp.array([0.1, 0.2]), jnp.array([0.3, 0.4]))
    bias = lambda d, e: params._replace(b=params.b.at[:4].set(jnp.repeat(jnp.array([d, e]), 2)))  # noqa: E731
    held, _ = cell.step(bias(-50.0, -50.0), state, X)
    np.testing.assert_allclose(held, state, atol=1e-6)
    y_only, _ = cell.step(bias(-50.0, 50.0), state, X)
    np.testing.assert_allclose(y_only.z, state.z, atol=1e-6)
    expected = np.tanh(X @ params.w_x[:, 6:] + state.z @ params.w_z)
    np.testing.assert_allclose(y_only.y, expected, atol=1e-6)


def test_biases_that_init_writes():
    np.testing.assert_array_equal(
        rx.ugrnn(2, forget_bias=3.0).init(jax.random.key(0), X).b, [3, 3, 0, 0]
    )
    drawn = rx.ugrnn(2, forget_bias=rx.initializers.chrono(100)).init(jax.random.key(0), X).b
    assert (drawn[:2] > 0).all()
    assert not drawn[2:].any()
    coupled = rx.rhn(2, 2, transform_bias=-1.5).init(jax.random.key(0), X).b
    np.testing.assert_array_equal(coupled, [[0, 0, -1.5, -1.5]] * 2)
    apart = rx.rhn(2, 1, coupled=False, transform_bias=-1.5).init(jax.random.key(0), X).b
    np.testing.assert_array_equal(apart, [[0, 0, -1.5, -1.5, 1.5, 1.5]])


def test_constants_have_no_dtype():
    """A NumPy number among the arguments must not widen a half-precision state."""
    half, one = jnp.ones(3, "bfloat16"), np.float64(0.1)
    for cell in (
        rx.irnn(4, scale=one),
        rx.antisymmetric(4, one, one),
        rx.cornn(4, dt=one, gamma=one, epsilon=one),
        rx.lem(4, dt=one),
        rx.layer_norm_gru(4, epsilon=one),
        rx.rhn(4, 2, transform_bias=one),
    ):
        params, state = fresh(cell, half)
        for leaf in jax.tree.leaves((params, cell.step(params, state, half))):
            assert leaf.dtype == "bfloat16", cell


def test_layer_norm_does_not_see_the_scale_of_weights():
    cell = rx.layer_norm_gru(8, epsilon=1e-12)
    params, _ = fresh(cell)
    larger = params._replace(w_x=30 * params.w_x, w_h=0.3 * params.w_h)
    h = jnp.linspace(-1, 1, 8)
    np.testing.assert_allclose(
        cell.step(params, h, X)[0], cell.step(larger, h, X)[0], rtol=1e-5, atol=1e-6
    )


def test_mgu_is_flax():
    """Live: the same weights in flax's MGUCell, whose form is reset_after=True."""
    nn = pytest.importorskip("flax.linen")
    cell = rx.mgu(3)
    rng = np.random.default_rng(0)
    with x64():
        shapes = jax.eval_shape(cell.init, jax.random.key(0), jax.ShapeDtypeStruct((2,), "float64"))
        params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
        f, n = slice(0, 3), slice(3, 6)
        dense = {
            "if": {"kernel": params.w_x[:, f], "bias": params.b[f]},
            "in": {"kernel": params.w_x[:, n], "bias": params.b[n]},
            "hf": {"kernel": params.w_h[:, f]},
            "hn": {"kernel": params.w_h[:, n], "bias": params.b_hn},
        }
        peer = nn.MGUCell(3, param_dtype="float64")
        h = carry = jnp.zeros(3)
        for x in rng.normal(size=(4, 2)):
            h, _ = cell.step(params, h, jnp.asarray(x))
            carry, _ = peer.apply({"params": dense}, carry, x)
            np.testing.assert_allclose(h, carry, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rx.irnn(3, scale=0), ValueError, r"irnn\(3, scale=0\): scale must be .* > 0"),
        (lambda: rx.jordan(3, 0), ValueError, "outputs must be at least 1, got 0"),
        (lambda: rx.jordan(3, True), TypeError, "outputs must be an int, got True"),
        (lambda: rx.rhn(3, 0), ValueError, "depth must be at least 1, got 0"),
        (lambda: rx.rhn(3, 1.5), TypeError, r"depth must be an int, got 1\.5"),  # pyright: ignore
        (lambda: rx.indrnn(3, activation="relu"), TypeError, "activation must be a function"),  # pyright: ignore
        (lambda: rx.antisymmetric(3, 0.0), ValueError, r"epsilon must be a number > 0 .*got 0\.0"),
        (lambda: rx.antisymmetric(3, 0.1, -1), ValueError, "gamma must be a number >= 0 .*got -1"),
        (lambda: rx.cornn(3, dt=float("nan")), ValueError, "dt must be .* finite, got nan"),
        (lambda: rx.cornn(3, gamma="2"), TypeError, "gamma must be a number > 0, got '2'"),  # pyright: ignore
        (lambda: rx.lem(3, dt=True), TypeError, "dt must be a number > 0, got True"),
        (lambda: rx.ugrnn(3, forget_bias="1"), TypeError, "forget_bias must be .*got '1'"),  # pyright: ignore
        (lambda: rx.rhn(3, 1, transform_bias=np.inf), ValueError, "transform_bias .* finite"),
        (lambda: rx.layer_norm_gru(3, epsilon=0), ValueError, "epsilon must be a number > 0"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_params_of_the_other_form_are_an_error():
    params = rx.mgu(3).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"params\.b_hn must be None, got "):
        rx.mgu(3, reset_after=False).initial_state(params)
    params = rx.antisymmetric(3).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"params\.b must have shape \(6,\), got \(3,\)"):
        rx.antisymmetric(3, gated=True).initial_state(params)
    params = rx.rhn(3, 2).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"params\.b must have shape \(3, 6\), got \(2, 6\)"):
        rx.rhn(3, 3).initial_state(params)
