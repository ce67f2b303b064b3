"""The Clockwork RNN: its schedule, and that module by module it does less and gives the same."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.scan._jax import subjaxprs
from tests.support import x64

PERIODS = [(1, 2, 4), (1, 3), (2, 5, 6), (1,), (3, 20)]
T, D, G = 13, 3, 2
X = jnp.ones(D)


def pair(periods):
    """Both evaluators, and params with noise on every leaf, in float64."""
    features = G * len(periods)
    cell, model = rx.clockwork(features, periods), rx.clockwork_by_module(features, periods)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape) / 2, cell.init(jax.random.key(0), jnp.ones(D))
    )
    return cell, model, params, rng.normal(size=(T, D))


def agree(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_modules_change_at_their_periods_alone():
    cell, _, params, xs = pair((1, 2, 5))
    state, ys = rx.unroll(cell, params, xs)
    changed = np.diff(np.concatenate([np.zeros((1, 3 * G)), ys]), axis=0) != 0
    for i, period in enumerate((1, 2, 5)):
        due = np.arange(T) % period == 0
        np.testing.assert_array_equal(changed[:, G * i : G * i + G], np.tile(due[:, None], G))
    assert state.t.dtype == jnp.int32
    assert state.t == T % 10


def test_slow_modules_do_not_see_fast_ones():
    cell, _, params, _ = pair((1, 2, 4))
    jacobian = jax.jacobian(lambda h: cell.step(params, rx.ClockworkState(h, jnp.int32(0)), X)[1])
    nonzero = np.asarray(jacobian(jnp.ones(3 * G)))  # [to, from]
    module = np.arange(3 * G) // G
    np.testing.assert_array_equal(nonzero != 0, module[:, None] <= module[None, :])


def test_the_counter_is_carried_across_calls_and_set_back_by_resets():
    cell, _, params, xs = pair((1, 2, 5))
    with x64():
        state, ys = rx.unroll(cell, params, xs)
        for cut in (1, 7):
            middle, first = rx.unroll(cell, params, xs[:cut])
            end, second = rx.unroll(cell, params, xs[cut:], state=middle)
            agree((end, jnp.concatenate([first, second])), (state, ys))
            resets = jnp.arange(T) == cut
            fresh, _ = rx.unroll(cell, params, xs, resets=resets)
            agree(fresh, rx.unroll(cell, params, xs[cut:])[0])


@pytest.mark.parametrize("periods", PERIODS, ids=str)
def test_module_by_module_is_step_by_step(periods):
    """States, outputs and every gradient, at every length, batched."""
    cell, model, params, xs = pair(periods)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(T, G * len(periods)))
    lengths = np.arange(T + 1)

    def number(run, params, xs):
        states, ys = jax.vmap(lambda n: run(params, xs, length=n))(lengths)
        return (states.h**2).sum() + (ys * weights).sum(), (states, ys)

    def both(run):
        return jax.jit(jax.value_and_grad(lambda *a: number(run, *a), (0, 1), has_aux=True))(
            params, xs
        )

    with x64():
        agree(both(model.apply), both(lambda p, xs, length: rx.unroll(cell, p, xs, length=length)))
        agree(model.apply(params, xs), rx.unroll(cell, params, xs))
        agree(model.apply(params, xs[:0]), rx.unroll(cell, params, xs[:0]))


def test_a_narrow_length_does_not_overflow():
    cell, model, params, xs = pair((1, 250))
    with x64():
        narrow = model.apply(params, xs, length=np.uint8(7))
        agree(narrow, rx.unroll(cell, params, xs, length=7))


def test_padding_changes_nothing():
    _, model, params, xs = pair((1, 2, 4))
    spoiled = np.where(np.arange(T)[:, None] < 6, xs, np.nan)
    with x64():
        grad = jax.grad(lambda p, xs: model.apply(p, xs, length=6)[1].sum(), (0, 1))
        agree(model.apply(params, spoiled, length=6), model.apply(params, xs, length=6))
        agree(grad(params, spoiled), grad(params, xs))


def test_a_state_or_resets_are_respected():
    cell, model, params, xs = pair((1, 2, 5))
    with x64():
        state, _ = model.apply(params, xs[:7])
        agree(model.apply(params, xs[7:], state=state)[0], model.apply(params, xs)[0])
        resets = jnp.arange(T) % 4 == 3
        agree(
            model.apply(params, xs, resets=resets, length=9),
            rx.unroll(cell, params, xs, resets=resets, length=9),
        )


def loops(jaxpr):
    """(steps, multiplications a step) of each scan in a jaxpr."""
    for equation in jaxpr.eqns:
        for sub in subjaxprs(equation.params):
            if equation.primitive.name == "scan":
                yield equation.params["length"], sum(multiplications(sub))
            else:
                yield from loops(sub)


def multiplications(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            yield math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        for sub in subjaxprs(equation.params):
            yield from multiplications(sub)


@pytest.mark.parametrize("periods", [(1, 2, 4, 8), (2, 3)], ids=str)
def test_what_does_not_fire_is_skipped(periods):
    """The cell multiplies by all of W_h at every step, the model at those where a module fires."""
    features, steps = G * len(periods), 16
    cell, model, params, _ = pair(periods)
    xs = jnp.ones((steps, D))
    plain = jax.make_jaxpr(lambda p: rx.unroll(cell, p, xs))(params).jaxpr
    assert list(loops(plain)) == [(steps, features**2)]
    split = jax.make_jaxpr(lambda p: model.apply(p, xs))(params).jaxpr
    assert list(loops(split)) == [(-(-steps // period), G**2) for period in periods[::-1]]


@pytest.mark.parametrize("make", [rx.clockwork, rx.clockwork_by_module])
@pytest.mark.parametrize(
    ("features", "periods", "error", "message"),
    [
        (4, (1, 2, 4), ValueError, r"\(4, \(1, 2, 4\)\): features must be a multiple .* 3"),
        (4, (2, 1), ValueError, r"periods must be increasing .*, got \(2, 1\)"),
        (4, (2, 2), ValueError, r"periods must be increasing .*, got \(2, 2\)"),
        (4, (0, 1), ValueError, r"periods must be .* at least 1, got \(0, 1\)"),
        (4, (), ValueError, r"periods must be .*, got \(\)"),
        (4, (1, 2.0), TypeError, r"periods must be a sequence of ints, got \(1, 2\.0\)"),
        (4, 2, TypeError, "periods must be a sequence of ints, got 2"),
        (4, (2**16, 2**16 + 1), ValueError, r"least common multiple below 2\*\*31"),
        (0, (1,), ValueError, "features must be at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(make, features, periods, error, message):
    with pytest.raises(error, match=message):
        make(features, periods)


def test_params_for_other_periods_are_an_error():
    params = rx.clockwork(6, (1, 2, 4)).init(jax.random.key(0), X)
    for run in (
        lambda: rx.unroll(rx.clockwork(6, (1, 2)), params, jnp.ones((T, D))),
        lambda: rx.clockwork_by_module(6, (1, 2)).apply(params, jnp.ones((T, D))),
    ):
        with pytest.raises(ValueError, match=r"params\.w_h must have shapes .* other periods"):
            run()
    model = rx.clockwork_by_module(6, (1, 2, 4))
    with pytest.raises(ValueError, match="x has width 5, but init made weights for width 3"):
        model.apply(params, jnp.ones((T, D + 2)))
    with pytest.raises(TypeError, match="xs must be an array, got dict"):
        model.apply(params, {"x": jnp.ones((T, D))})
    with pytest.raises(TypeError, match=r"params must be .*, got dict"):
        model.apply({}, jnp.ones((T, D)))
