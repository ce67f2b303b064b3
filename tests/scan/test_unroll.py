"""`unroll` beyond what the contract of the cells covers: trees, keys, no steps, bad input."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx

# Remembers which steps it saw, and in which order: s = 10 s + x. Exact in int32.
DIGITS = rx.Cell(
    init=lambda key, x: (),
    initial_state=lambda params: jnp.zeros((), int),
    step=lambda params, state, x: (10 * state + x, 10 * state + x),
    name="digits",
)
digits = functools.partial(rx.unroll, DIGITS, ())
XS = jnp.arange(1, 6)


def show(result):
    state, ys = result
    return int(state), ys.tolist()


def test_order_and_place():
    assert show(digits(XS)) == (12345, [1, 12, 123, 1234, 12345])
    assert show(digits(XS, reverse=True)) == (54321, [54321, 5432, 543, 54, 5])
    assert show(digits(XS, length=3)) == (123, [1, 12, 123, 0, 0])
    assert show(digits(XS, length=3, reverse=True)) == (321, [321, 32, 3, 0, 0])
    assert show(digits(XS, length=0, state=jnp.asarray(7))) == (7, [0] * 5)


def test_resets_in_both_directions():
    resets = jnp.array([False, False, True, False, True])
    seven = jnp.asarray(7)
    assert show(digits(XS, resets=resets, state=seven)) == (5, [71, 712, 3, 34, 5])
    backward = digits(XS, resets=resets, state=seven, reverse=True)
    assert show(backward) == (21, [21, 2, 43, 4, 75])
    first = resets.at[0].set(True)
    assert show(digits(XS, resets=first, state=seven)) == (5, [1, 12, 3, 34, 5])
    assert show(digits(XS, resets=first, state=seven, reverse=True)) == show(backward)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_in_the_padding_is_none(reverse):
    """At `length` itself above all: backward it would end the state that was handed in."""
    resets = jnp.array([False, True, False, True, True])
    seven = jnp.asarray(7)
    cut = digits(XS[:3], resets=resets[:3], state=seven, reverse=reverse)
    state, ys = digits(XS, resets=resets, state=seven, reverse=reverse, length=3)
    assert show((state, ys[:3])) == show(cut)


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_at_all(reverse):
    state, ys = digits(XS[:0], resets=jnp.zeros(0, bool), length=0, reverse=reverse)
    assert int(state) == 0
    assert ys.shape == (0,)


def test_traced_length_as_it_is_under_jit_and_vmap():
    lengths = jnp.arange(6)
    states, ys = jax.jit(jax.vmap(lambda n: digits(XS, length=n)))(lengths)
    assert states.tolist() == [0, 1, 12, 123, 1234, 12345]
    for n in range(6):
        assert (ys[n] != 0).sum() == n


def test_a_step_that_has_no_derivative_at_zero():
    """Padding is no zero to a logarithm or a norm: a gradient is that of the valid steps alone."""
    cell = rx.Cell(
        init=lambda key, x: jnp.ones(2),
        initial_state=lambda params: jnp.zeros(2),
        step=lambda w, s, x: (s + w * jnp.log(x) / jnp.linalg.norm(x), s),
        name="log",
    )
    xs = jnp.array([[1.0, 2.0], [3.0, 4.0], [jnp.nan, 0.0]])

    def last(w, xs, length=None):
        return rx.unroll(cell, w, xs, length=length)[0].sum()

    grad = jax.grad(last, argnums=(0, 1))
    of_params, of_xs = grad(jnp.ones(2), xs, 2)
    expected = grad(jnp.ones(2), xs[:2])
    np.testing.assert_allclose(of_params, expected[0], rtol=1e-6)
    np.testing.assert_allclose(of_xs[:2], expected[1], rtol=1e-6)
    assert not of_xs[2].any()


def test_trees_of_inputs_states_and_outputs():
    cell = rx.Cell(
        init=lambda key, x: None,
        initial_state=lambda params: {"sum": jnp.zeros(2), "count": jnp.zeros((), int)},
        step=lambda params, s, x: (
            {"sum": s["sum"] + x["a"], "count": s["count"] + 1},
            (s["sum"], {"key": jax.random.uniform(x["key"])}),
        ),
        name="tree",
    )
    keys = jax.random.split(jax.random.key(0), 4)
    xs = {"a": jnp.ones((4, 2)).at[3].set(jnp.nan), "key": keys}
    state, (sums, extra) = rx.unroll(cell, (), xs, length=3)
    assert state["sum"].tolist() == [3, 3]
    assert int(state["count"]) == 3
    assert sums[:, 0].tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(extra["key"][:3], jax.vmap(jax.random.uniform)(keys[:3]))
    assert extra["key"][3] == 0


def test_one_key_a_step():
    cell = rx.Cell(
        init=lambda key, x: (),
        initial_state=lambda params: (),
        step=lambda params, s, x, key=None: (s, x if key is None else jax.random.uniform(key)),
        name="noise",
    )
    key, xs = jax.random.key(2), jnp.zeros(5)
    _, ys = rx.unroll(cell, (), xs, key=key)
    assert len(set(ys.tolist())) == 5
    np.testing.assert_array_equal(ys, rx.unroll(cell, (), xs, key=key)[1])
    assert not rx.unroll(cell, (), xs)[1].any()


def test_a_learned_initial_state_has_a_gradient_through_resets():
    cell = rx.Cell(
        init=lambda key, x: jnp.zeros(()),
        initial_state=lambda params: params,
        step=lambda params, s, x: (s + x, s + x),
        name="learned",
    )
    xs, resets = jnp.ones(4), jnp.array([False, False, True, True])

    def total(params, state=None):
        return rx.unroll(cell, params, xs, state=state, resets=resets)[1].sum()

    assert jax.grad(total)(0.5) == 4
    assert jax.grad(total, argnums=1)(0.5, jnp.zeros(())) == 2


def test_params_may_be_nothing_or_a_callable_module():
    @jax.tree_util.register_pytree_node_class
    class Linear:
        def __init__(self, w):
            self.w = w

        def __call__(self, h):
            return self.w * h

        def tree_flatten(self):
            return (self.w,), None

        @classmethod
        def tree_unflatten(cls, _, leaves):
            return cls(*leaves)

    def cell(step):
        return rx.Cell(lambda key, x: None, lambda params: jnp.zeros(()), step)

    module = cell(lambda linear, h, x: (linear(h) + x,) * 2)
    np.testing.assert_allclose(rx.unroll(module, Linear(0.5), jnp.ones(3))[1], [1, 1.5, 1.75])
    total = cell(lambda _, h, x: (h + x,) * 2)
    np.testing.assert_allclose(rx.unroll(total, None, jnp.ones(3))[1], [1, 2, 3])


def test_bad_input_is_named():
    cell = rx.elman(3)
    xs = jnp.ones((4, 2))
    params = cell.init(jax.random.key(0), xs[0])

    def run(xs, **options: Any):
        return rx.unroll(cell, params, xs, **options)

    for call, error, message in [
        (lambda: run(None), ValueError, "xs: expected at least one array with a time axis"),
        (lambda: run(1.0), ValueError, "xs: expected a leading time axis .*, got a scalar"),
        (
            lambda: run({"a": xs, "b": xs[:3]}),
            ValueError,
            r"xs: all leaves need the same number of time steps, got .*\['b'\].*\(3, 2\)",
        ),
        (lambda: run(jnp.ones((7, 4, 2))), ValueError, r"x must be one step .*jax\.vmap"),
        (lambda: run(xs, length=5), ValueError, "length: expected a number from 0 to 4, got 5"),
        (lambda: run(xs, length=-1), ValueError, "length: expected a number from 0 to 4, got -1"),
        (lambda: run(xs, length=jnp.ones(4, int)), ValueError, r"length: .*jax\.vmap"),
        (lambda: run(xs, resets=jnp.ones(3, bool)), ValueError, r"resets: .*\[T=4\], got \(3,\)"),
        (lambda: run(xs, resets=jnp.ones(4)), TypeError, "resets: .*booleans, got .*float32"),
        (lambda: run(xs, resets=[True] * 4), TypeError, "resets: expected an array of booleans"),
        (lambda: run(xs, key=0), TypeError, r"elman\(3\): key must be one jax\.random\.key, got 0"),
        (lambda: run(xs, state=jnp.ones(4)), ValueError, r"state must have the shape \(3,\), got"),
        (lambda: run(xs, state=(jnp.ones(3),)), TypeError, "state must have the structure"),
        (
            lambda: rx.unroll(cell, None, xs),
            TypeError,
            r"params must be the ElmanParams .*NoneType",
        ),
        (lambda: rx.unroll(cell, cell.init, xs), TypeError, r"params: .*elman\(3\)\.init makes"),
        (lambda: rx.unroll(rx.elman, params, xs), TypeError, "cell: expected an object with"),
    ]:
        with pytest.raises(error, match=message):
            call()
