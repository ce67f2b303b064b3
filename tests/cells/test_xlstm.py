"""What xLSTM's cells promise beyond the contract: the stabiliser changes nothing but the range."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.entries_xlstm import mlstm, slstm
from tests.cells.following import assert_follows, noisy


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_are_their_unstabilised_equations(heads, forget):
    gate = {"forget": np.exp} if forget == "exp" else {}
    assert_follows(rx.slstm(4, heads, forget=forget), functools.partial(slstm, **gate), (3,))
    assert_follows(rx.mlstm(4, heads, forget=forget), functools.partial(mlstm, **gate), (3,))


@pytest.mark.parametrize("make", [rx.slstm, rx.mlstm])
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
@pytest.mark.parametrize("size", [-3000.0, 3000.0])
def test_gates_of_any_size_stay_finite(make, forget, size):
    """exp(3000) overflows, exp(-3000) is 0, in any dtype; outputs and gradients are numbers."""
    cell = make(4, forget=forget)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), "float32")
    params = noisy(cell, xs[0])
    for gates in ([size, size], [size, -size], [size, 0.0]):
        if isinstance(params, rx.SLSTMParams):
            extreme = params._replace(b=np.repeat([*gates, 0.0, 0.0], 4))
        else:
            extreme = params._replace(b_g=np.asarray(gates))
        extreme = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float32"), extreme)

        def run(params, xs):
            state, ys = rx.unroll(cell, params, xs)
            return ys.sum(), (state, ys)

        gradients, (state, ys) = jax.grad(run, argnums=(0, 1), has_aux=True)(extreme, xs)
        for leaf in jax.tree.leaves((gradients, state, ys)):
            assert np.isfinite(leaf).all()
        assert np.abs(ys).max() > 0 or (make is rx.mlstm and size < 0), "not by dying out"


def test_the_normaliser_is_at_least_one():
    """n_t is a sum of exponentials over their largest, so that 1 <= n_t <= t."""
    cell = rx.slstm(8, heads=2)
    xs = 20 * jax.random.normal(jax.random.key(0), (30, 3))
    params = cell.init(jax.random.key(1), xs[0])
    _, ns = jax.lax.scan(
        lambda s, x: (cell.step(params, s, x)[0], cell.step(params, s, x)[0].n),
        cell.initial_state(params),
        xs,
    )
    assert (ns >= 1).all()
    assert (ns <= 1e-4 + jnp.arange(1, 31)[:, None]).all()


def test_heads_do_not_see_each_other():
    """A change of h in one head of the sLSTM changes the next h in that head alone."""
    cell, x = rx.slstm(6, heads=3), jnp.ones(2)
    params = cell.init(jax.random.key(0), x)
    state, _ = cell.step(params, cell.initial_state(params), x)
    moved = state._replace(h=state.h.at[2:4].add(1.0))
    changed = cell.step(params, moved, x)[1] != cell.step(params, state, x)[1]
    np.testing.assert_array_equal(changed, [False, False, True, True, False, False])


def test_each_heads_gates_are_orthogonal():
    cell = rx.slstm(8, heads=2)
    w_h = np.asarray(cell.init(jax.random.key(0), jnp.ones(2)).w_h)
    for head in w_h:
        for block in np.split(head, 4, axis=1):
            np.testing.assert_allclose(block.T @ block, np.eye(4), atol=1e-5)
    assert np.abs(w_h[0] - w_h[1]).max() > 0.1, "heads are drawn apart"


def test_the_matrix_memory_recalls_by_key():
    """One pair written into an empty memory is read by its key: C q / (n^T q) = v."""
    heads, width = 1, 4
    cell, x = rx.mlstm(width, heads), jnp.ones(1)
    params = cell.init(jax.random.key(0), x)
    q = k = np.array([1.0, 2.0, 0.0, -1.0]) * 2
    v = np.array([0.3, -0.2, 0.9, 0.5])
    written = params._replace(
        w_x=jnp.zeros_like(params.w_x), b=jnp.concatenate([q, k, v, np.full(4, 50.0)])
    )
    _, y = cell.step(written, cell.initial_state(params), x)
    np.testing.assert_allclose(y, v, rtol=1e-5)


@pytest.mark.parametrize("width", [4, 64])
def test_products_of_the_matrix_memory(width):
    """No product on the way from step to step; reading stays in the loop where C is large."""
    cell = rx.mlstm(width)
    params = cell.init(jax.random.key(0), jnp.ones(3))
    state = cell.initial_state(params)
    report = rx.scan_report(lambda s, x: cell.step(params, s, x), state, jnp.ones((5, 3)))
    assert report.forward.left == (0 if width == 4 else 1)
    carried = rx.scan_report(
        lambda s, x: (cell.step(params, s, x)[0], None), state, jnp.ones((5, 3))
    )
    assert carried.forward.left == 0


def test_forget_bias_is_a_number_or_drawn():
    ramp = lambda key, shape, dtype: jnp.linspace(3, 6, *shape, dtype=dtype)  # noqa: E731
    for bias, expected in [(-1.5, [-1.5] * 4), (ramp, [3, 4, 5, 6])]:
        params = rx.slstm(4, heads=2, forget_bias=bias).init(jax.random.key(0), jnp.ones(2))
        np.testing.assert_allclose(params.b, [0] * 4 + expected + [0] * 8)
        params = rx.mlstm(8, heads=4, forget_bias=bias).init(jax.random.key(0), jnp.ones(2))
        np.testing.assert_allclose(params.b_g, [0] * 4 + expected)
    for make in (rx.slstm, rx.mlstm):
        with pytest.raises(TypeError, match=r"lstm\(4\): forget_bias must be a number or an init"):
            make(4, forget_bias="chrono")


def test_arguments_are_named():
    for make in (rx.slstm, rx.mlstm):
        with pytest.raises(ValueError, match="features must divide into heads, got 6 and 4"):
            make(6, 4)
        with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
            make(6, 0)
        with pytest.raises(
            ValueError, match=r"forget must be one of \['sigmoid', 'exp'\], got 'e'"
        ):
            make(6, forget="e")
        assert repr(make(6, 2, forget="exp")).endswith("(6, heads=2, forget='exp')")
    params = rx.slstm(6, heads=3).init(jax.random.key(0), jnp.ones(2))
    with pytest.raises(ValueError, match=r"params\.w_h must have shape \(2, 3, 12\), got"):
        rx.slstm(6, heads=2).initial_state(params)
