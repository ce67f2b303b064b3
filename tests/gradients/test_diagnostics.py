"""Gradient flow, gates and warnings against Python loops over steps and NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.gradients.bounds import wide_norm_of
from tests.cells.entry import sigmoid
from tests.cells.harness import assert_close, random_like
from tests.cells.registry import REGISTRY
from tests.scan.agreement import QUICK, loop_products, total
from tests.support import x64

T, D, H = 7, 3, 4
jitted = functools.partial(jax.jit, compiler_options=QUICK)
BY_NAME = {entry.name: entry for entry in REGISTRY}


def case(name, seed=0):
    entry = BY_NAME[name]
    rng = np.random.default_rng(seed)
    cell = rx.as_cell(entry.make())
    params = cell.init(jax.random.key(0), jnp.zeros(entry.width))
    params = jax.tree.map(lambda leaf, n: leaf + n, params, random_like(rng, params))
    return cell, params, rng.normal(size=(T, entry.width))


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


def test_norms_of_what_squares_would_not_hold():
    for scale in (1e-30, 1.0, 1e30):
        got = wide_norm_of([scale * jnp.array([3.0, 0.0]), scale * jnp.array(4.0)])
        np.testing.assert_allclose(got, 5 * scale, rtol=1e-6)
    assert wide_norm_of([jnp.zeros(3)]) == 0
    assert np.isinf(wide_norm_of([jnp.array([1.0, jnp.inf])]))
    assert np.isnan(wide_norm_of([jnp.array([1.0, jnp.nan])]))


def slow_flow(cell, params, xs, loss):
    """dL/ds_t for t = 0 to T and dL/dparams, by one step's vector-Jacobian products in a loop."""

    @jax.jit
    def back(params, state, x, cotangents):
        return jax.vjp(cell.step, params, state, x)[1](cotangents)

    forward = jax.jit(cell.step)
    state, ys, tape = cell.initial_state(params), [], []
    for x in xs:
        tape.append((params, state, x))
        state, y = forward(params, state, x)
        ys.append(y)
    d_state, d_ys = jax.grad(loss, (0, 1))(state, jnp.stack(ys))
    of_states, of_params = [d_state], jax.tree.map(np.zeros_like, params)
    for given, d_y in zip(tape[::-1], d_ys[::-1], strict=True):
        one, d_state, _ = back(*given, (d_state, d_y))
        of_params = jax.tree.map(np.add, of_params, one)
        of_states.append(d_state)
    return of_states[::-1], of_params


@pytest.mark.parametrize("name", ["stack", "jordan"])
@x64()
def test_flow_is_the_gradient_of_every_state(name):
    cell, params, xs = case(name)

    def loss(state, ys):
        return total((state, ys[-1], ys[2]))

    flow = jitted(lambda p, xs: rx.gradient_flow(cell, p, xs, loss))(params, xs)
    of_states, of_params = slow_flow(cell, params, xs, loss)
    for t, expected in enumerate(of_states):
        np.testing.assert_allclose(flow.total[t], norm(expected), rtol=1e-10)
        leaves = jax.tree.map(lambda leaf, t=t: leaf[t], flow.state)
        assert_close(leaves, jax.tree.map(norm, expected), 1e-10)
    np.testing.assert_allclose(flow.loss, loss(*rx.unroll(cell, params, xs)), rtol=1e-12)
    assert_close(flow.params, jax.tree.map(norm, of_params), 1e-10)


@x64()
def test_flow_into_every_gate_of_an_lstm():
    """The gradient of what goes into the gates is that of a bias for every step."""
    cell, params, xs = case("lstm")
    state0 = cell.initial_state(params)

    def loss(state, ys):
        return jnp.sum(ys[-1] ** 2) + jnp.sum(ys[2])

    def per_step(biases):
        state, ys = state0, []
        for x, b in zip(xs, biases, strict=True):
            state, y = cell.step(params._replace(b=b), state, x)
            ys.append(y)
        return loss(state, jnp.stack(ys))

    width = params.b.shape[0] // 4
    of_biases = jitted(jax.grad(per_step))(jnp.broadcast_to(params.b, (T, 4 * width)))
    flow, gradient = jitted(
        lambda params: (
            rx.gradient_flow(cell, params, xs, loss),
            jax.grad(lambda p: loss(*rx.unroll(cell, p, xs)))(params),
        )
    )(params)
    for n, name in enumerate(["sigmoid(i)", "sigmoid(f)", "tanh(g)", "sigmoid(o)"]):
        expected = np.linalg.norm(of_biases[:, n * width : (n + 1) * width], axis=1)
        np.testing.assert_allclose(flow.gates[name], expected, rtol=1e-9, atol=1e-14)
    by_gate = rx.gate_norms(gradient, width)
    for n in range(4):
        block = gradient.w_h[:, n * width : (n + 1) * width]
        np.testing.assert_allclose(by_gate.w_h[n], np.linalg.norm(block), rtol=1e-12)
    np.testing.assert_allclose(rx.gate_norms(gradient.b, 3), [norm(gradient.b)], rtol=1e-12)


@pytest.mark.slow
@x64()
def test_flow_with_length_resets_keys_and_counters():
    cell, params, xs = case("gru")

    @jitted
    def last(xs, **options):
        return rx.gradient_flow(cell, params, xs, lambda s, ys: total(s), **options)

    short, padded = last(xs[:4]), last(xs, length=4)
    np.testing.assert_allclose(padded.total[:5], short.total, rtol=1e-10)
    np.testing.assert_array_equal(padded.total[5:], 0)
    resets = np.arange(T) == 3
    cut = last(xs, resets=resets)
    assert np.all(np.asarray(cut.total[:4]) == 0)
    np.testing.assert_allclose(cut.total[4:], last(xs[3:]).total[1:], rtol=1e-10)
    noisy = rx.zoneout(cell, 0.5)
    key = jax.random.key(3)

    @jitted
    def both(params):
        found = rx.gradient_flow(noisy, params, xs, lambda s, ys: total(s), key=key)
        return found, jax.grad(lambda p: total(rx.unroll(noisy, p, xs, key=key)[0]))(params)

    found, expected = both(params)
    assert_close(found.params, jax.tree.map(norm, expected), 1e-10)
    counting = rx.clockwork(6, (1, 2, 3))
    weights = counting.init(jax.random.key(0), jnp.ones(D))
    flow = rx.gradient_flow(counting, weights, jnp.ones((T, D)), lambda s, ys: total(ys[-1]))
    np.testing.assert_array_equal(flow.state.t, 0)
    np.testing.assert_allclose(flow.state.h, flow.total)
    assert np.all(flow.total[:-1] > 0)


def test_flow_costs_one_backward_pass():
    """One product in either loop: what `jax.grad` of `rx.unroll` costs."""
    cell = rx.lstm(8)
    params = cell.init(jax.random.key(0), jnp.ones(5))

    def total_flow(params, xs):
        return rx.gradient_flow(cell, params, xs, lambda state, ys: ys[-1].sum())

    assert loop_products(total_flow, params, jnp.ones((17, 5))) == [1, 1]


@x64()
def test_gate_saturation_counts():
    cell, params, xs = case("lstm")
    xs = 4 * xs
    found = jitted(functools.partial(rx.gate_saturation, cell, length=5))(params, xs)
    width = params.b.shape[0] // 4
    c = h = np.zeros(width)
    seen = []
    for x in xs[:5]:
        pre = x @ params.w_x + h @ params.w_h + params.b
        i, f, g, o = (pre[n * width : (n + 1) * width] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        seen.append([sigmoid(f), sigmoid(i), np.tanh(g), sigmoid(o), np.tanh(c)])
        h = sigmoid(o) * np.tanh(c)
    names = ["sigmoid(f)", "sigmoid(i)", "tanh(g)", "sigmoid(o)", "tanh(c)"]
    assert set(found) == set(names)
    ends = 0
    for n, name in enumerate(names):
        a = np.stack([row[n] for row in seen])
        low, high = (-0.8, 0.8) if "tanh" in name else (0.1, 0.9)
        expected = (a < low).mean(0), (a > high).mean(0), a.mean(0)
        assert_close(found[name], expected, 1e-12)
        ends += np.sum(expected[:2])
    assert ends > 2


def test_gates_of_any_cell():
    two = rx.stack(rx.gru(3), rx.gru(4))
    xs = jnp.ones((T, D))
    found = rx.gate_saturation(two, two.init(jax.random.key(0), xs[0]), xs)
    assert [name for name in found if name.endswith(" 2")]
    assert {gate.mean.shape for gate in found.values()} == {(3,), (4,)}

    def step(params, state, x):
        gate = jax.lax.logistic(x) if x.ndim == 0 else 1 / (1 + jnp.exp(-x))
        return state + gate, gate

    own = rx.Cell(lambda k, x: None, lambda p: jnp.zeros(()), step)
    assert list(rx.gate_saturation(own, 0, jnp.ones(T))) == ["logistic(x)"]
    gateless = rx.irnn(3)
    assert rx.gate_saturation(gateless, gateless.init(jax.random.key(0), jnp.ones(D)), xs) == {}
    with pytest.raises(ValueError, match="margin must lie in"):
        rx.gate_saturation(own, 0, jnp.ones(T), margin=0.6)


def test_memory_length():
    decay = 0.5 ** jnp.arange(30.0)[::-1]
    assert int(rx.memory_length(decay, fraction=0.1)) == 3
    assert int(rx.memory_length(jnp.append(decay, jnp.zeros(5)), fraction=0.1)) == 3
    assert int(rx.memory_length(jnp.ones(8))) == 7
    assert int(rx.memory_length(jnp.array([1.0, 0.0, 1.0]))) == 2  # it comes back
    assert int(rx.memory_length(jnp.zeros(8))) == 0
    for bad in (jnp.nan, jnp.inf):  # at the end, or everywhere
        assert int(rx.memory_length(jnp.ones(8).at[-1].set(bad))) == 0
        assert int(rx.memory_length(jnp.full(8, bad))) == 0
    both = jax.jit(jax.vmap(rx.memory_length))(jnp.stack([decay, jnp.ones(30)]))
    np.testing.assert_array_equal(both, [6, 29])


def test_warnings():
    vanishing = 0.8 ** np.arange(101.0)[::-1]
    assert rx.gradient_warning(vanishing).startswith("gradients vanish beyond 30 steps: ")
    batch = np.stack([vanishing, vanishing, np.ones(101)])
    assert rx.gradient_warning(batch) == rx.gradient_warning(vanishing)  # the median
    padded = np.append(vanishing, np.zeros(40))
    assert rx.gradient_warning(padded) == rx.gradient_warning(vanishing)
    assert rx.gradient_warning(jnp.array([0.0, 0.0, 1.0, 2.0])) == (
        "gradients vanish beyond 1 steps: |dL/ds| is 0 of its last value 2 steps back, 0 of it "
        "3 steps back"
    )
    assert rx.gradient_warning(2.0 ** np.arange(31)[::-1]) == (
        "gradients explode beyond 9 steps: |dL/ds| is 1e+03 times its last value 10 steps back, "
        "1e+09 times it 30 steps back"
    )
    broken = np.where(np.arange(10) < 4, np.nan, 1.0)
    assert rx.gradient_warning(broken) == "gradients are not finite from 6 steps back"
    assert rx.gradient_warning(np.zeros(5)).startswith("no gradient arrives")
    assert rx.gradient_warning(np.linspace(0.1, 1, 50)) == ""
    assert rx.gradient_warning(np.linspace(0.1, 1, 50), vanished=0.5) != ""


def test_errors_teach():
    with pytest.raises(TypeError, match="gradient_warning: norms must be computed arrays"):
        jax.jit(lambda n: rx.gradient_warning(n) and n)(jnp.ones(3))
    with pytest.raises(ValueError, match=r"norms must be \[..., T \+ 1\], got shape \(\)"):
        rx.gradient_warning(np.ones(()))
    with pytest.raises(ValueError, match="gradient_flow: xs must have at least one step"):
        rx.gradient_flow(rx.irnn(2), None, jnp.zeros((0, 2)), total, state=jnp.zeros(2))
    for wrong in ({"vanished": 2}, {"exploded": 0.5}):
        with pytest.raises(ValueError, match="expected vanished < 1 < exploded"):
            rx.gradient_warning(np.ones(3), **wrong)
    with pytest.raises(ValueError, match="memory_length: norms must be"):
        rx.memory_length(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="fraction must lie in"):
        rx.memory_length(jnp.ones(3), fraction=2)
