"""The contract of every cell: one entry in `tests/cells/registry.py` joins all of these tests."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells.harness import (
    LENGTHS,
    B,
    Harness,
    T,
    assert_close,
    assert_same_bits,
    random_like,
    row,
)
from tests.cells.registry import REGISTRY
from tests.support import x64

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@pytest.fixture(scope="module", params=REGISTRY, ids=lambda entry: entry.name)
def cell(request):
    return Harness(request.param)


@both_directions
def test_is_its_equations(cell, reverse):
    """Every length, random resets, a state handed in: each example as its NumPy loop has it."""
    before = cell.steps_traced
    states, ys = cell.run(reverse)(*cell.arguments)
    cell.run(reverse)(*cell.arguments)
    assert cell.steps_traced == before + 1, "a step is traced once, and compiled once"
    for b in range(B):
        assert_close((row(states, b), ys[b]), cell.truth(b, reverse))


@both_directions
def test_gradients_are_finite_differences(cell, reverse):
    """For each leaf of params, inputs and state, along a random direction."""
    before = cell.steps_traced
    params, xs, state, *rest = cell.arguments
    gradient_of = cell.value_and_grad(reverse)
    _, gradients = gradient_of(params, xs, state, *rest)
    assert cell.steps_traced == before + 1, "the derivative needs no second trace"
    leaves, treedef = jax.tree.flatten((params, xs, state))
    for n, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(gradients), strict=True)):
        direction = cell.rng.normal(size=leaf.shape)
        direction /= np.linalg.norm(direction)
        values = []
        for sign in (1, -1):
            moved = [*leaves[:n], leaf + sign * 1e-5 * direction, *leaves[n + 1 :]]
            values.append(gradient_of(*jax.tree.unflatten(treedef, moved), *rest)[0])
        numeric = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-7)
    assert not gradients[1][0].any(), "padding has no gradient"


def test_jvp_agrees_with_grad_inside_an_outer_scan(cell):
    """Two chunks, the state carried by a scan around `unroll`, are one run; forward derivatives
    along a random direction agree with the backward ones.
    """
    with x64():

        def chunked(params, xs, state):
            def one(xs, state):
                chunks = xs.reshape(2, T // 2, -1)
                return jax.lax.scan(
                    lambda s, chunk: rx.unroll(cell.cell, params, chunk, state=s), state, chunks
                )

            state, ys = jax.vmap(one)(xs, state)
            return cell.number(state, ys.reshape(B, T, *ys.shape[3:])), (state, ys)

        primals = (cell.params, cell.xs, cell.state)
        tangents = random_like(cell.rng, primals)
        jvp = jax.jit(lambda p, t: jax.jvp(chunked, p, t, has_aux=True))
        _, along, (states, ys) = jvp(primals, tangents)
    arguments = (*primals, np.full(B, T, np.int32), np.zeros((B, T), bool))
    assert_close((states, ys.reshape(B, T, -1)), cell.run(False)(*arguments))
    _, gradients = cell.value_and_grad(False)(*arguments)
    dots = jax.tree.map(lambda g, t: (g * t).sum(), gradients, tangents)
    np.testing.assert_allclose(along, sum(jax.tree.leaves(dots)), rtol=1e-9)


def test_length_is_truncation_and_vmap_a_loop(cell):
    """Alone, without a batch or a length, cut to 0, 1 and more steps; one key gives one result."""
    with x64():
        params, xs, state = cell.params, cell.xs, cell.state
        key = jax.random.key(1)

        def alone(b, n, key=None):
            return rx.unroll(cell.cell, params, xs[b, :n], state=row(state, b), key=key)

        chosen = (0, 1, T)
        run = jax.jit(lambda k: ([alone(n, n) for n in chosen], alone(T - 2, T - 2, k)))
        (first, keyed), (_, again) = run(key), run(key)
    states, ys = cell.run(False)(params, xs, state, LENGTHS, np.zeros((B, T), bool))
    for n, (state_n, ys_n) in zip(chosen, first, strict=True):
        assert ys_n.shape[0] == n
        assert_close((state_n, ys_n), (row(states, n), ys[n, :n]))
        assert not ys[n, n:].any(), "outputs past the length are zero"
    assert_same_bits(first[0][0], row(state, 0))
    assert_same_bits(row(states, 0), row(state, 0))
    assert_same_bits(keyed, again)


def test_reverse_is_flip(cell):
    """The valid part turned round, run forward, turned round again, is the run in reverse."""
    params, xs, state, lengths, resets = cell.arguments
    flipped_xs, flipped_resets = xs.copy(), np.zeros_like(resets)
    for b, n in enumerate(lengths):
        flipped_xs[b, :n] = xs[b, :n][::-1]
        # Where a sequence began at t, the one before it is now entered, at its step t - 1.
        for t in range(1, n):
            flipped_resets[b, n - t] = resets[b, t]
    states, ys = cell.run(False)(params, flipped_xs, state, lengths, flipped_resets)
    ys = ys.copy()
    for b, n in enumerate(lengths):
        ys[b, :n] = ys[b, :n][::-1].copy()
    assert_close(cell.run(True)(*cell.arguments), (states, ys))


@both_directions
def test_resets_are_separate_sequences(cell, reverse):
    """Packed sequences, each run alone, step by step from the initial state."""
    _, ys = cell.run(reverse)(*cell.arguments)
    for b, n in enumerate(LENGTHS):
        starts = [0, *(t for t in range(1, n) if cell.resets[b, t]), n]
        for begin, end in itertools.pairwise(starts):
            steps = cell.xs[b, begin:end]
            fresh = cell.resets[b, begin] if not reverse else end < n
            state = cell.initial if fresh else row(cell.state, b)
            _, expected = cell.steps(state, steps[::-1] if reverse else steps)
            if expected:
                assert_close(ys[b, begin:end], np.stack(expected[::-1] if reverse else expected))


@both_directions
@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e300])
def test_padding_changes_no_bit(cell, reverse, padding):
    """Whatever is past the length, and where resets fall there: outputs, states, gradients."""
    params, xs, state, lengths, resets = cell.arguments
    past = np.arange(T) >= lengths[:, None]
    spoiled = np.where(past[..., None], padding, xs)
    arguments = params, spoiled, state, lengths, resets ^ past
    assert_same_bits(cell.run(reverse)(*arguments), cell.run(reverse)(*cell.arguments))
    gradient_of = cell.value_and_grad(reverse)
    assert_same_bits(gradient_of(*arguments), gradient_of(*cell.arguments))


@both_directions
def test_rows_do_not_see_each_other(cell, reverse):
    """At one batch shape an example's bits do not depend on its neighbours, NaN included."""
    params, xs, state, lengths, resets = cell.arguments
    b = T - 1
    others = np.arange(B) != b
    spoiled = np.where(others[:, None, None], np.nan, xs)
    arguments = (
        params,
        spoiled,
        state,
        np.where(others, np.int32(T), lengths),
        resets & ~others[:, None],
    )
    expected, got = cell.run(reverse)(*cell.arguments), cell.run(reverse)(*arguments)
    assert_same_bits(row(got, b), row(expected, b))
    gradient_of = cell.value_and_grad(reverse)
    _, (_, *expected) = gradient_of(*cell.arguments)
    _, (_, *got) = gradient_of(*arguments)
    assert_same_bits(row(got, b), row(expected, b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lower_precision(cell, dtype):
    """Within 24 rounding units of float64 on the same rounded numbers; no leaf changes dtype.

    A unit is half the spacing at 1. One step adds D + H rounded products and goes through a
    handful of rounded elementwise operations, whose slopes are at most 1; T = 6 such steps follow
    each other. One bound for both dtypes: a silent detour over bfloat16 breaks float32's.
    """

    def run(params, xs, state):
        return jax.vmap(lambda xs, s, n: rx.unroll(cell.cell, params, xs, state=s, length=n))(
            xs, state, LENGTHS
        )

    def number(params, xs, state):
        state, ys = run(params, xs, state)
        return cell.weights.astype(ys.dtype).ravel() @ ys.ravel(), (state, ys)

    arguments = (cell.params, cell.xs, cell.state)
    rounded = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), arguments)
    if (
        dtype == "float32"
    ):  # one dtype is enough for the gradients' dtypes, and halves the compiling
        outputs, gradients = jax.jit(run)(*rounded), ()
    else:
        grad = jax.jit(jax.grad(number, argnums=(0, 1, 2), has_aux=True))
        gradients, outputs = grad(*rounded)
    for leaf in jax.tree.leaves((outputs, gradients)):
        assert leaf.dtype == dtype
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), rounded)
    expected = cell.run(False)(*exact, LENGTHS, np.zeros((B, T), bool))
    unit = float(jnp.finfo(dtype).eps) / 2
    assert_close(outputs, expected, 24 * unit)
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(np.asarray(leaf, np.float64)).all()


def test_init_needs_only_shapes_and_is_deterministic(cell):
    plain = cell.entry.make()
    key, x = jax.random.key(3), jnp.ones(cell.entry.width)
    struct = jax.ShapeDtypeStruct(x.shape, x.dtype)
    params = plain.init(key, x)
    assert_same_bits(params, plain.init(key, struct))
    shapes = jax.eval_shape(plain.init, key, struct)
    assert jax.tree.structure(shapes) == jax.tree.structure(params)
    for expected, leaf in zip(jax.tree.leaves(shapes), jax.tree.leaves(params), strict=True):
        assert (expected.shape, expected.dtype) == (leaf.shape, leaf.dtype)
        assert leaf.dtype == x.dtype
    first, second = (plain.init(jax.random.key(k), struct) for k in (0, 1))
    assert any(
        (a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )


def test_a_fresh_state_can_be_donated(cell):
    plain = cell.entry.make()
    params = plain.init(jax.random.key(3), jnp.ones(cell.entry.width))
    state = plain.initial_state(params)
    jax.jit(lambda state: jax.tree.map(jnp.positive, state), donate_argnums=0)(state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    jax.block_until_ready(params)  # still there


def test_repr_is_readable(cell):
    plain = cell.entry.make()
    assert "object at" not in repr(plain)
    assert "function" not in repr(plain)
    assert "(" in repr(plain), "says its size"


def test_drift_is_an_error(cell):
    """A state that would change its dtype, shape or structure is stopped at the first trace."""
    if not jax.tree.leaves(cell.state):
        pytest.skip("no state")
    with x64():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), cell.params)
        with pytest.raises(TypeError, match=r"dtype of state.* from float32 to float64"):
            rx.unroll(cell.cell, params, cell.xs[0])
        with pytest.raises(TypeError, match=r"state.* must have the dtype float32, got float64"):
            rx.unroll(
                cell.cell,
                params,
                jnp.zeros((T, cell.entry.width), jnp.float32),
                state=row(cell.state, 0),
            )
    with pytest.raises(ValueError, match=r"state.* must have the shape .*, got "):
        rx.unroll(cell.cell, params, cell.xs[0], state=cell.state)
    with pytest.raises(TypeError, match=r"state must have the structure .*, got "):
        rx.unroll(cell.cell, params, cell.xs[0], state={"h": row(cell.state, 0)})


def test_bad_arguments_are_named(cell):
    """Wrong rank, width, dtype; no params, or another cell's; a batch without vmap."""
    plain, d = cell.entry.make(), cell.entry.width
    with pytest.raises(TypeError, match=r"params: expected what .*init makes, got <function"):
        rx.unroll(plain, plain.init, jnp.ones((T, d)))
    if not cell.entry.checked:
        return
    with pytest.raises(TypeError, match=r"params must be .*, got NoneType"):
        rx.unroll(plain, None, jnp.ones((T, d)))
    params = plain.init(jax.random.key(0), jnp.ones(d))
    state = plain.initial_state(params)
    for x, error, message in [
        (jnp.ones(d + 1), ValueError, rf"x has width {d + 1}.* width {d}"),
        (jnp.ones((2, d)), ValueError, rf"x must be one step .*\[D={d}\], got shape \(2, {d}\)"),
        (jnp.ones(d, jnp.int32), TypeError, "x must be floating, got int32"),
        ([1.0] * d, TypeError, "x must be an array, got list"),
    ]:
        with pytest.raises(error, match=message):
            plain.step(params, state, x)
    for x, error, message in [
        (jnp.ones((2, d)), ValueError, rf"init: x must be .*\[D\].*, got shape \(2, {d}\)"),
        (jnp.ones(0), ValueError, r"init: x must be .* D > 0, got shape \(0,\)"),
        (jnp.ones(d, jnp.int32), TypeError, "init: x must be floating, got int32"),
        (d, TypeError, "init: x must be an array, got int"),
    ]:
        with pytest.raises(error, match=message):
            plain.init(jax.random.key(0), x)
    for call in (
        lambda: plain.initial_state({}),
        lambda: plain.step({}, state, jnp.ones(d)),
        lambda: rx.unroll(plain, {}, jnp.ones((T, d))),
    ):
        with pytest.raises(TypeError, match=r"params must be .*, got dict"):
            call()
    with pytest.raises(TypeError, match=r"state must .*"):
        plain.step(params, {}, jnp.ones(d))
    if jax.tree.leaves(params):
        with pytest.raises(TypeError, match=r"key must be one jax\.random\.key, got None"):
            plain.init(None, jnp.ones(d))
