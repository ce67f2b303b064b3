"""Serial, stack, bidirectional and residual against chains made by hand and NumPy loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.cells import registry
from tests.cells.harness import assert_close, assert_same_bits, random_like, row, to_numpy
from tests.support import x64

T, D = 4, 2
LENGTHS = np.arange(T + 1, dtype=np.int32)  # the same integers with and without x64
B = len(LENGTHS)
KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(B, T, D))
STRUCT = jax.ShapeDtypeStruct((T, D), "float64")


def random_params(model, seed=0):
    with x64():
        shapes = jax.eval_shape(model.init, KEY, STRUCT)
    return random_like(np.random.default_rng(seed), shapes)


def batch(model, key=None):
    """`(params, xs, lengths) -> (state, ys)`, vmapped and compiled."""

    def run(params, xs, lengths):
        return jax.vmap(lambda xs, n: model.apply(params, xs, length=n, key=key))(xs, lengths)

    jitted = jax.jit(run)

    def call(*arguments):
        with x64():
            return to_numpy(jitted(*arguments))

    return call


def loop(step, params, state, xs):
    ys = []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    return state, ys


@pytest.mark.parametrize("merge", ["concat", "sum", "mean"])
def test_bidirectional_is_two_runs(merge):
    """At each length: one run from each end of the valid part, by NumPy loops."""
    model = rx.bidirectional(rx.elman(3), rx.gru(3), merge=merge)
    params = random_params(model)
    states, ys = batch(model)(params, XS, LENGTHS)
    for b, n in enumerate(LENGTHS):
        zeros = np.zeros(3)
        state_f, forward = loop(registry.elman(np.tanh), params.forward, zeros, XS[b, :n])
        state_b, backward = loop(registry.gru_after, params.backward, zeros, XS[b, :n][::-1])
        pairs = zip(forward, backward[::-1], strict=True)
        merged = {
            "concat": lambda f, b: np.concatenate([f, b]),
            "sum": lambda f, b: f + b,
            "mean": lambda f, b: (f + b) / 2,
        }[merge]
        expected = np.zeros_like(ys[b])
        for t, pair in enumerate(pairs):
            expected[t] = merged(*pair)
        assert_close((row(states, b), ys[b]), (rx.Bidirectional(state_f, state_b), expected))


def test_params_may_hold_functions():
    """As a module of equinox does: `unroll` takes them, and so do `serial` and `stack`."""
    cell = rx.Cell(
        lambda key, x: {"w": jnp.ones(x.shape), "f": jnp.tanh},
        lambda params: jnp.zeros_like(params["w"]),
        lambda params, s, x: (s, params["f"](params["w"] * x + s)),
    )
    xs = jnp.ones((T, D))
    model, stack = rx.serial(cell, cell), rx.stack(cell, cell)
    params = model.init(KEY, xs)
    assert stack.init(KEY, xs[0])[1]["f"] is jnp.tanh
    expected = np.tanh(np.tanh(np.ones((T, D))))
    np.testing.assert_allclose(model.apply(params, xs)[1], expected, rtol=1e-6)
    np.testing.assert_allclose(rx.unroll(stack, params, xs)[1], expected, rtol=1e-6)


def halves(layer):
    """Two steps of xs as one for `layer`, with a length of its own: a pyramid's upper floor."""
    model = rx.as_model(layer)

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        length = None if length is None else (length + 1) // 2
        return model.apply(params, xs.reshape(T // 2, -1), state=state, length=length, key=key)

    return rx.SequenceModel(lambda key, xs: (), apply, name="halves")


def test_lengths_do_not_pass_a_layer_that_changes_the_time_axis():
    """Where the length is traced, the layers above would run into the padding in silence."""
    layer = halves(rx.dropout(0.5))
    xs = jnp.ones((T, D))
    model = rx.serial(rx.dropout(0.5), layer, rx.dropout(0.5))
    assert model.apply(((),) * 3, xs)[1].shape == (T // 2, 2 * D)
    expected = r"halves must keep the time axis, or be an rx\.Unaligned, got \(2, 4\) of \(4, 2\)"
    with pytest.raises(ValueError, match=rf"serial\(.*\): {expected}"):
        jax.eval_shape(lambda n: model.apply(((),) * 3, xs, length=n), jnp.int32(3))
    with pytest.raises(ValueError, match=rf"reverse\(halves\): {expected}"):
        rx.reverse(layer).apply((), xs)
    unaligned = rx.Unaligned(layer.init, layer.apply, name="halves")
    model = rx.serial(unaligned, rx.dropout(0.5))
    assert model.apply(((),) * 2, xs, length=3)[1].shape == (T // 2, 2 * D)


def deep():
    return rx.serial(
        rx.dropout(0.4),
        rx.bidirectional(rx.elman(2), rx.gru(2)),
        rx.dropout(0.4, variational=True),
        rx.residual(rx.elman(4)),
        rx.lstm(3),
    )


def test_padded_batch_is_each_example_alone():
    """Outputs and states, dropout included, and no bit of what the padding holds gets through."""
    model = deep()
    params, key = random_params(model), jax.random.key(5)
    run = batch(model, key)
    states, ys = run(params, XS, LENGTHS)
    past = np.arange(T) >= LENGTHS[:, None]
    assert_same_bits(run(params, np.where(past[..., None], np.nan, XS), LENGTHS), (states, ys))
    chosen = (0, 1, T - 1)
    with x64():
        alone = jax.jit(lambda p: [model.apply(p, XS[n, :n], key=key) for n in chosen])(params)
    for n, (state, ys_n) in zip(chosen, alone, strict=True):
        assert_close((row(states, n), ys[n, :n]), (state, ys_n))
        assert not ys[n, n:].any()


def test_residual_first_in_line_keeps_padding_out():
    model = rx.residual(rx.as_model(rx.elman(D)))
    params = random_params(model)
    past = np.arange(T) >= LENGTHS[:, None]
    run = batch(model)
    states, ys = run(params, np.where(past[..., None], np.nan, XS), LENGTHS)
    assert_same_bits((states, ys), run(params, XS, LENGTHS))
    assert not ys[past].any()
    _, expected = loop(registry.elman(np.tanh), params, np.zeros(D), XS[T])
    assert_close(ys[T], XS[T] + np.stack(expected))


def test_composes_under_jit_vmap_grad_jvp_in_an_outer_scan():
    """State in and out: two chunks, carried by a scan around the model, are one run; and the
    forward derivative is the backward one.
    """
    model = rx.serial(rx.elman(2), rx.residual(rx.gru(2)), rx.dense(1))
    params = random_params(model)

    def whole(params, xs):
        state, ys = jax.vmap(lambda xs: model.apply(params, xs))(xs)
        return (ys**2).sum(), (state, ys)

    def chunked(params, xs):
        def one(xs):
            states = tuple(
                rx.as_model(cell).apply(p, xs[:0])[0] for cell, p in zip(CELLS, params, strict=True)
            )
            body = lambda state, chunk: model.apply(params, chunk, state=state)  # noqa: E731
            return jax.lax.scan(body, states, xs.reshape(2, T // 2, D))

        state, ys = jax.vmap(one)(xs)
        return (ys**2).sum(), (state, ys.reshape(B, T, 1))

    CELLS = (rx.elman(2), rx.gru(2), rx.dense(1))
    tangents = random_like(np.random.default_rng(1), (params, XS))

    def everything(params, xs):
        (_, outputs), gradients = jax.value_and_grad(whole, argnums=(0, 1), has_aux=True)(
            params, xs
        )
        (_, chunks), again = jax.value_and_grad(chunked, argnums=(0, 1), has_aux=True)(params, xs)
        _, along, _ = jax.jvp(chunked, (params, xs), tangents, has_aux=True)
        return outputs, gradients, chunks, again, along

    with x64():
        outputs, gradients, chunks, again, along = to_numpy(jax.jit(everything)(params, XS))
    assert_close(outputs, chunks)
    assert_close(gradients, again)
    dots = jax.tree.map(lambda g, t: (g * t).sum(), gradients, tangents)
    np.testing.assert_allclose(along, sum(jax.tree.leaves(dots)), rtol=1e-10)


def test_serial_is_the_chain_and_stack_is_serial():
    cells = rx.lstm(3), rx.gru(2)
    model, cell = rx.serial(*cells), rx.stack(*cells)
    params = model.init(KEY, XS[0])
    assert_same_bits(params, cell.init(KEY, XS[0, 0]))

    @jax.jit
    def run(params, xs):
        first_state, ys = rx.unroll(cells[0], params[0], xs)
        second_state, ys = rx.unroll(cells[1], params[1], ys)
        chain = (first_state, second_state), ys
        return chain, model.apply(params, xs), rx.unroll(cell, params, xs)

    chain, serial, stacked = run(params, XS[0].astype(np.float32))
    assert jax.tree.structure(chain) == jax.tree.structure(serial) == jax.tree.structure(stacked)
    assert_close(serial, chain, 1e-6)
    assert_close(stacked, chain, 1e-6)


def test_keys_are_split_between_layers_the_same_way_each_time():
    model = rx.serial(rx.dropout(0.5), rx.dropout(0.5))
    xs = jnp.ones((40, 20))
    _, ys = model.apply(((), ()), xs, key=KEY)
    np.testing.assert_array_equal(ys, model.apply(((), ()), xs, key=KEY)[1])
    # Two masks of their own keep a quarter; one mask used twice would keep a half.
    kept = float((ys != 0).mean())
    assert abs(kept - 0.25) < 5 * (0.25 * 0.75 / ys.size) ** 0.5
    np.testing.assert_array_equal(ys[ys != 0], 4.0)


def test_init_needs_only_shapes():
    model = deep()
    key, xs = KEY, jnp.ones((T, D))
    params = model.init(key, jax.ShapeDtypeStruct(xs.shape, xs.dtype))
    assert_same_bits(params, model.init(key, xs))
    shapes = jax.eval_shape(model.init, key, xs)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)


def test_any_object_with_init_and_apply_is_a_layer():
    class Double:
        def init(self, key, xs):
            return ()

        def apply(self, params, xs, *, state=None, length=None, resets=None, key=None):
            return (), 2 * xs

    _, ys = rx.serial(Double(), Double()).apply(((), ()), jnp.ones((2, 1)))
    assert ys.tolist() == [[4], [4]]
