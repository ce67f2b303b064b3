"""`rx.clipped` against NumPy, and against its promise that a bad gradient changes nothing."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recurrax.gradients import clipped, clipping_report
from tests.support import x64

KINDS = {"value": 0.4, "per_leaf_norm": 1.1, "adaptive": 0.3, "global_norm": 1.3}


def _tree(seed: int, dtype: type = np.float64):
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(size=(5, 4)).astype(dtype),
        "b": rng.normal(size=(4,)).astype(dtype),
        "none": None,
    }


def _numpy_clip(g, w, value=None, per_leaf_norm=None, adaptive=None, global_norm=None):
    """The docstring's equations, leaf by leaf, unit by unit."""
    g, w = dict(g), dict(w)
    names = [n for n in g if g[n] is not None]
    if value is not None:
        g.update({n: np.minimum(np.maximum(g[n], -value), value) for n in names})
    if per_leaf_norm is not None:
        g.update({n: g[n] * min(1, per_leaf_norm / np.linalg.norm(g[n])) for n in names})
    if adaptive is not None:
        for n in names:
            units = [np.s_[:, j] for j in range(g[n].shape[1])] if g[n].ndim == 2 else [np.s_[:]]
            g[n] = g[n].copy()
            for u in units:
                bound = adaptive * max(np.linalg.norm(w[n][u]), 1e-3)
                g[n][u] *= min(1, bound / np.linalg.norm(g[n][u]))
    if global_norm is not None:
        norm = math.sqrt(sum(np.sum(g[n] ** 2) for n in names))
        g.update({n: g[n] * min(1, global_norm / norm) for n in names})
    return g


def _global(tree):
    return math.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))


@pytest.mark.parametrize(
    "names",
    [*[(name,) for name in KINDS], ("value", "global_norm"), ("per_leaf_norm", "adaptive"), KINDS],
    ids="+".join,
)
def test_matches_numpy(names):
    chosen = {name: KINDS[name] for name in names}
    params = _tree(0)
    with x64():
        optimizer = clipped(optax.sgd(1.0), **chosen)
        update = jax.jit(optimizer.update)
        state = optimizer.init(params)
        for scale in (0.01, 1.0, 30.0):
            gradients = jax.tree.map(lambda g, scale=scale: scale * g, _tree(1))
            updates, state = update(gradients, state, params)
            expected = _numpy_clip(gradients, params, **chosen)
            report = clipping_report(state)
            assert updates["none"] is None
            for name in ("w", "b"):
                assert updates[name].dtype == np.float64
                np.testing.assert_allclose(-updates[name], expected[name], rtol=1e-13)
            np.testing.assert_allclose(report.norm_before, _global(gradients), rtol=1e-13)
            np.testing.assert_allclose(report.norm_after, _global(expected), rtol=1e-13)
            assert int(report.skipped) == 0
            if scale == 0.01 and "adaptive" not in names:  # nothing to clip: not a bit may change
                np.testing.assert_array_equal(-updates["w"], gradients["w"])


@pytest.mark.parametrize("names", [("global_norm",), KINDS], ids="+".join)
def test_non_finite_gradient_changes_nothing_but_the_report(names):
    optimizer = clipped(optax.adamw(0.1, weight_decay=0.5), **{name: KINDS[name] for name in names})
    update = jax.jit(optimizer.update)
    params, good = (jax.tree.map(jnp.asarray, _tree(seed, np.float32)) for seed in (0, 1))

    _, state = update(good, optimizer.init(params), params)
    for bad in (np.nan, np.inf, -np.inf):
        poisoned = {**good, "w": good["w"].at[2, 1].set(bad)}
        updates, skipped = update(poisoned, state, params)
        for u in jax.tree.leaves(updates):
            np.testing.assert_array_equal(u, 0)
        jax.tree.map(np.testing.assert_array_equal, skipped.optimizer, state.optimizer)
        state = skipped
    report = clipping_report(state)
    assert not np.isfinite(report.norm_before)
    assert float(report.norm_after) == 0
    assert int(report.skipped) == int(report.skipped_in_a_row) == 3

    after, state = update(good, state, params)  # goes on as if nothing had been
    clean_state = optimizer.init(params)
    for _ in range(2):
        clean, clean_state = update(good, clean_state, params)
    jax.tree.map(np.testing.assert_array_equal, after, clean)
    report = clipping_report(state)
    assert (int(report.skipped), int(report.skipped_in_a_row)) == (3, 0)


@x64()
def test_percentile_of_the_newest_norms():
    """AutoClip by a Python list; a gradient that is not finite leaves no trace in it."""
    rng = np.random.default_rng(4)
    optimizer = clipped(optax.identity(), percentile=30, history=5)
    update = jax.jit(optimizer.update)
    state = optimizer.init({"w": jnp.zeros(3), "b": jnp.zeros(2)})
    history = []
    for n in range(12):
        scale = math.nan if n == 6 else math.exp(rng.normal())
        gradients = {"w": scale * rng.normal(size=3), "b": scale * rng.normal(size=2)}
        updates, state = update(gradients, state)
        report = clipping_report(state)
        norm = _global(gradients)
        if math.isnan(norm):
            assert int(report.skipped) == 1
            continue
        history = [*history, norm][-5:]
        bound = np.percentile(history, 30)
        np.testing.assert_allclose(report.bound, bound, rtol=1e-13)
        expected = jax.tree.map(lambda g, n=norm, b=bound: g * min(1, b / n), gradients)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), updates, expected)
    first = optimizer.update({"w": jnp.zeros(3), "b": jnp.zeros(2)}, optimizer.init(expected))
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0), first[0])


def test_gives_up_when_apply_if_finite_does():
    ours = clipped(optax.adam(0.1), global_norm=math.inf, give_up=2)
    theirs = optax.apply_if_finite(optax.adam(0.1), max_consecutive_errors=2)
    params = jnp.ones(3)
    state, peer = ours.init(params), theirs.init(params)
    update, peer_update = jax.jit(ours.update), jax.jit(theirs.update)
    let_through, finite = 0, [True, False, False, True, False, False, False, False, True]
    for n, good in enumerate(finite):
        gradient = jnp.array([1.0, 2.0, 3.0 if good else math.inf])
        updates, state = update(gradient, state, params)
        expected, peer = peer_update(gradient, peer, params)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)
        report = clipping_report(state)
        let_through += n in (6, 7)
        assert int(report.let_through) == let_through
        assert int(report.skipped_in_a_row) == int(peer.notfinite_count)
    assert int(report.skipped) == 4
    assert not np.all(np.isfinite(updates))  # Adam's moments show it: nothing silent


def test_overflowing_norm_counts_as_non_finite():
    optimizer = clipped(optax.sgd(1.0), value=1.0)
    params = jnp.zeros(3)
    updates, state = optimizer.update(jnp.full(3, 1e30), optimizer.init(params), params)
    np.testing.assert_array_equal(updates, 0)
    assert int(clipping_report(state).skipped) == 1


def test_zero_gradient_and_infinite_threshold():
    optimizer = clipped(optax.identity(), **dict.fromkeys(KINDS, math.inf))
    update = jax.jit(optimizer.update)
    params = jax.tree.map(jnp.asarray, _tree(0, np.float32))
    for gradients in (jax.tree.map(jnp.zeros_like, params), params):
        updates, _ = update(gradients, optimizer.init(params), params)
        jax.tree.map(np.testing.assert_array_equal, updates, gradients)


def test_bfloat16_params_mixed_with_float32():
    params = {"w": jnp.ones((64, 64), jnp.bfloat16), "b": jnp.ones(8)}
    gradients = jax.tree.map(jnp.ones_like, params)
    optimizer = clipped(optax.sgd(1.0, momentum=0.9), **KINDS)
    updates, state = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    assert updates["w"].dtype == jnp.bfloat16
    assert updates["b"].dtype == jnp.float32
    before = optimizer.init(params)
    assert [x.dtype for x in jax.tree.leaves(state)] == [x.dtype for x in jax.tree.leaves(before)]
    # 64 * 64 + 8 ones: a bfloat16 accumulator could not hold the sum.
    np.testing.assert_allclose(clipping_report(state).norm_before, math.sqrt(4104), rtol=1e-6)


def test_inside_chain_masked_multi_transform_and_multi_steps():
    params = jax.tree.map(jnp.asarray, {n: v for n, v in _tree(0, np.float32).items() if n in "wb"})
    gradients = jax.tree.map(lambda p: 10 * p, params)
    only_w = {"w": True, "b": False}
    groups = {"w": "clip", "b": "free"}
    inner = clipped(optax.sgd(1.0), adaptive=0.5, global_norm=0.5)
    wrappers = {
        "masked": optax.chain(optax.masked(inner, only_w), optax.identity()),
        "groups": optax.multi_transform({"clip": inner, "free": optax.sgd(1.0)}, groups),
        "steps": optax.MultiSteps(inner, every_k_schedule=1),
    }
    for name, optimizer in wrappers.items():
        updates, state = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
        report = clipping_report(state)
        measured = gradients if name == "steps" else gradients["w"]
        np.testing.assert_allclose(report.norm_before, _global(measured), rtol=1e-5)
        np.testing.assert_allclose(report.norm_after, 0.5, rtol=1e-5)
        assert _global(updates["w"]) <= 0.5 + 1e-6


def test_extra_arguments_vmap_scan_and_injected_thresholds():
    optimizer = clipped(optax.contrib.reduce_on_plateau(patience=2), global_norm=1.0)
    gradients = jnp.arange(6.0).reshape(2, 3)

    def step(state, g):
        updates, state = optimizer.update(g, state, value=jnp.sum(g))
        return state, updates

    def run(gs):  # [T, D]
        return jax.lax.scan(step, optimizer.init(gs[0]), gs)

    state, updates = jax.jit(jax.vmap(run))(gradients[:, None])
    np.testing.assert_allclose(np.linalg.norm(updates, axis=-1).ravel(), 1.0, rtol=1e-6)
    assert clipping_report(state).norm_before.shape == (2,)

    injected = optax.inject_hyperparams(lambda bound: clipped(optax.sgd(1.0), global_norm=bound))
    optimizer = injected(bound=0.25)
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(gradients))
    np.testing.assert_allclose(np.linalg.norm(updates), 0.25, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ValueError, "at least one of value, per_leaf_norm, adaptive, global_norm"),
        ({"global_norm": 0}, ValueError, "global_norm must be positive; got 0"),
        ({"value": -1.0}, ValueError, "value must be positive; got -1.0"),
        ({"adaptive": math.nan}, ValueError, "adaptive must be positive"),
        ({"per_leaf_norm": "1"}, TypeError, "per_leaf_norm must be a positive number"),
        ({"value": True}, TypeError, "value must be a positive number"),
        ({"value": jnp.ones(2)}, ValueError, r"shape \(2,\)"),
        ({"value": jnp.float32(-1)}, ValueError, "value must be positive; got -1.0"),
        ({"percentile": 101}, ValueError, r"percentile must lie in \[0, 100\]; got 101"),
        ({"percentile": "10"}, TypeError, "percentile must be a number"),
        ({"percentile": 10, "history": 0}, ValueError, "history must be at least 1"),
        ({"value": 1, "give_up": 0}, ValueError, "give_up must be at least 1"),
    ],
)
def test_errors_teach(options, error, said):
    with pytest.raises(error, match=said):
        clipped(optax.sgd(1.0), **options)


def test_other_errors_teach():
    with pytest.raises(TypeError, match="must be an optax transformation"):
        clipped(optax.sgd, global_norm=1.0)  # forgot to call it  # type: ignore[arg-type]
    optimizer = clipped(optax.sgd(1.0), adaptive=0.1)
    with pytest.raises(ValueError, match="no params came"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
    with pytest.raises(ValueError, match="found 0"):
        clipping_report(optax.adam(1.0).init(jnp.ones(2)))
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="found 2"):
        clipping_report((state, state))


def test_import_does_not_load_optax():
    code = "import sys, recurrax.gradients; sys.exit('optax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_state_can_be_donated():
    optimizer = clipped(optax.adam(1.0), global_norm=1.0)
    update = jax.jit(optimizer.update, donate_argnums=1)
    state = optimizer.init(jnp.ones(2))
    for _ in range(2):
        _, state = update(jnp.ones(2), state)
    assert int(clipping_report(state).skipped) == 0
