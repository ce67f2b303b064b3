"""Linear recurrences by an associative scan: the same as step by step, in every derivative."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

import recurrax as rx
from recurrax.scan import linear
from tests.cells.entries_linear import ENTRIES
from tests.cells.harness import B, Harness, assert_close, row
from tests.scan.agreement import QUICK, everything
from tests.scan.steps import draw
from tests.support import x64

N, T = 4, 7

by_scan = functools.partial(rx.scan, method="associative")
unrolled = functools.partial(rx.unroll, method="associative")


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Of which a few steps fill several, and not all; what they come to does so once more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "_BLOCK", 3)
        yield


def assert_agrees(step, args, *, order=2, batched=True, tolerance=1e-10, **extra):
    """With `jax.lax.scan`, to a tolerance relative to the largest value."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(*args):
        return [
            everything(scan, step, args, extra, order=order, batched=batched)
            for scan in (by_scan, lax.scan)
        ]

    ours, theirs = both(*args)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    pairs = zip(jax.tree_util.tree_leaves_with_path(theirs), jax.tree.leaves(ours), strict=True)
    for (path, want), got in pairs:
        assert (got.dtype, got.shape) == (want.dtype, want.shape), path
        scale = max(1.0, float(np.max(np.abs(want), initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale, err_msg=str(path))


def mixed(params, state, x):
    """A counter, an oscillator, a leaf that the others drive in a way that is not linear, a leaf
    that is only handed on, and one that no step changes.
    """
    w, b = params
    count, (re, im), driven, last, fixed = state
    s = (0.9 + 0.3j) * lax.complex(re, im) + x @ w
    new = jax.nn.sigmoid(x + fixed) * driven + jnp.tanh(im * re) * jnp.sin(0.1 * count) + b
    y = jnp.concatenate([x, s.real, last]) @ jnp.concatenate([w, w.T, w])
    return (count + 1, (s.real, s.imag), new, jnp.tanh(new), fixed), (y, count, b)


def mixed_arguments(steps):
    w, b, re, im, driven, last, fixed, xs = draw((N, N), *[(N,)] * 6, (steps, N))
    return (w, b), (0.0, (re, im), driven, last, fixed), xs


@pytest.mark.slow
@x64()
def test_every_derivative():
    assert_agrees(mixed, mixed_arguments(T))


@pytest.mark.slow
@x64()
def test_in_reverse():
    assert_agrees(mixed, mixed_arguments(T), order=1, batched=False, reverse=True)


@pytest.mark.parametrize("steps", [0, 1, 2])
@x64()
def test_few_steps(steps):
    assert_agrees(mixed, mixed_arguments(steps), order=1, batched=False)


# Of two values that are affine in the state, and one that does not depend on it.
AFFINE = {
    "add": lambda a, b, u: a + b,
    "sub": lambda a, b, u: a - b,
    "offset": lambda a, b, u: u - a,
    "neg": lambda a, b, u: -a,
    "scale": lambda a, b, u: u * a,
    "half": lambda a, b, u: 0.5 * b + u,
    "div": lambda a, b, u: a / (1.5 + u * u),
    "where": lambda a, b, u: jnp.where(u > 0, a, b),
    "clear": lambda a, b, u: jnp.where(u > 0.3, u, a),
    "row": lambda a, b, u: (u[:, None] * a[None, :].T)[:, 0] + b,
    "matrix": lambda a, b, u: (a.reshape(2, 2).T * u.reshape(2, 2).T).T.ravel(),
    "halves": lambda a, b, u: jnp.concatenate([a[:2] * u[2:], *jnp.split(b, 2)[1:]]),
    "there and back": lambda a, b, u: a[::-1][::-1] - b,
    "rotation": lambda a, b, u: jnp.real(lax.complex(a, b) * jnp.exp(1j * u)),
    "conjugate": lambda a, b, u: jnp.imag(jnp.conj(lax.complex(a, u)) * (0.5 + 1j)),
    "power": lambda a, b, u: a**1 + 0.0 * u,
}
KNOWN = [
    lambda w, x: x,
    lambda w, x: jnp.tanh(x @ w),
    lambda w, x: w[0],
    lambda w, x: jax.nn.softmax(x),
]


def affine_step(code, outputs, w, state, x):
    pool = list(state)
    for name, i, j, k in code:
        known = KNOWN[k](w, x)
        pool.append(AFFINE[name](pool[i % len(pool)], pool[j % len(pool)], known))
    new = tuple(0.4 * pool[-1 - i % len(pool)] + KNOWN[1](w, x) for i in outputs)
    return new, (jnp.sin(pool[-1]) @ w, state[0] * state[1])


_operand = st.integers(0, 30)
_lines = st.tuples(st.sampled_from(sorted(AFFINE)), _operand, _operand, st.integers(0, 3))


_OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@pytest.mark.slow
@settings(max_examples=4, **_OPTIONS)
@given(
    st.lists(_lines, min_size=2, max_size=9),
    st.tuples(_operand, _operand),
    st.booleans(),
)
@x64()
def test_random_affine_steps(code, outputs, reverse):
    w, h, k, xs = draw((N, N), (N,), (N,), (5, N), seed=3)
    step = functools.partial(affine_step, code, outputs)
    assert_agrees(step, (w, (h, k), xs), order=1, reverse=reverse)


@pytest.mark.parametrize("name", sorted(AFFINE))
@x64()
def test_each_affine_operation(name):
    w, h, k, xs = draw((N, N), (N,), (N,), (5, N), seed=4)
    step = functools.partial(affine_step, [(name, 0, 1, 1), (name, 1, 2, 0)], (0, 1))
    assert_agrees(step, (w, (h, k), xs), order=0, batched=False)


class Associative(Harness):
    """The same, without a loop."""

    def _unroll(self, reverse, params, xs, state, length, resets):
        kwargs = {"state": state, "length": length, "resets": resets, "reverse": reverse}
        return unrolled(self.cell, params, xs, **kwargs)


@pytest.mark.parametrize(
    ("entry", "reverse"),
    [*((entry, False) for entry in ENTRIES), (ENTRIES[0], True), (ENTRIES[5], True)],
    ids=lambda value: getattr(value, "name", f"reverse={value}"),
)
def test_cells_agree(entry, reverse):
    """Every length from 0 to T, random resets, a state handed in; values and all gradients."""
    harness, plain = Associative(entry), Harness(entry)
    states_and_ys = harness.run(reverse)(*harness.arguments)
    _, gradients = harness.value_and_grad(reverse)(*harness.arguments)
    _, expected = plain.value_and_grad(reverse)(*plain.arguments)
    for b in range(B):
        got = row(states_and_ys[0], b), states_and_ys[1][b]
        assert_close(got, plain.truth(b, reverse), 1e-10)
    assert_close(gradients, expected, 1e-10)
    assert not gradients[1][0].any(), "padding has no gradient"


def test_keys_are_those_of_the_steps():
    def step(params, h, x, key):
        h = jnp.where(jax.random.bernoulli(key, 0.5, h.shape), 0.9 * h, x)
        return h, h

    cell = rx.Cell(lambda key, x: (), lambda params: jnp.zeros(N), step)
    xs, key = draw((T, N))[0], jax.random.key(5)
    keys = jax.random.split(key, T)
    plain = lax.scan(lambda h, xk: step((), h, *xk), jnp.zeros(N), (xs, keys))
    got = jax.jit(lambda xs: unrolled(cell, (), xs, key=key))(xs)
    assert_close(got, plain, 1e-6)


def test_integers_and_flags_are_exact():
    """Modulo 2^32, as the loop's; `or` and `and` are a sum and a product."""
    xs = jnp.arange(40, dtype=jnp.int32)

    def step(state, x):
        i, seen, armed = state
        state = 3 * i + x - 7, seen | (x == 5), (x > 2) & armed | (x == 30)
        return state, state

    init = jnp.int32(1), jnp.bool_(False), jnp.bool_(True)
    for reverse in (False, True):
        got, want = (
            jax.jit(functools.partial(scan, step, reverse=reverse))(init, xs)
            for scan in (by_scan, lax.scan)
        )
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@x64()
def test_a_reset_cuts_off_an_overflow():
    """The sequence before it is lost, in values and derivatives; the next does not see it."""
    xs = jnp.ones((8, N))
    grows = jnp.where(jnp.arange(8) < 4, 1e200, 0.5)
    starts = jnp.arange(8) == 4

    def run(scan, a, xs):
        def step(h, inputs):
            a, x, start = inputs
            h = a * jnp.where(start, 0.0, h) + x
            return h, h

        return scan(step, jnp.ones(N), (a, xs, starts))[1][4:]

    @jax.jit
    def everything(a, xs):
        results = []
        for scan in (by_scan, lax.scan):
            value, tangent = jax.jvp(functools.partial(run, scan), (a, xs), (a, xs))
            gradient = jax.grad(lambda *args, s=scan: run(s, *args).sum(), (0, 1))(a, xs)
            results.append((value, tangent, [g[4:] for g in gradient]))
        return results

    got, want = everything(grows, xs)
    assert np.isfinite(want[0]).all()
    assert_close(got, want)
