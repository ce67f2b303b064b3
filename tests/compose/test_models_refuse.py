"""What a model refuses, and in which words."""

import jax
import jax.numpy as jnp
import pytest

import recurrax as rx

T, D = 4, 2
KEY = jax.random.key(0)


def test_what_is_no_pair_is_named():
    """Of an array of two rows, one would be the state and one the output, in silence."""
    step = rx.Cell(lambda key, x: (), lambda p: jnp.zeros(D), lambda p, s, x: s + x, name="lone")
    model = rx.SequenceModel(lambda key, xs: (), lambda p, xs, **kwargs: xs, "bare")
    x, zeros, xs = jnp.ones(D), jnp.zeros(D), jnp.ones((T, D))
    for call, name in [
        (lambda: rx.stack(step, rx.dense(2)).init(KEY, x), "lone: step"),
        (lambda: rx.stack(step).step(((),), (zeros,), x), "lone: step"),
        (lambda: rx.unroll(rx.residual(step), (), xs), "lone: step"),
        (lambda: rx.one_step(step).apply((), x), "lone: step"),
        (lambda: rx.autoregressive(step, 2).apply((), x), "lone: step"),
        (lambda: rx.zoneout(step, 0.5).step((), zeros, x), "lone, 0.5.: step"),
        (lambda: rx.serial(model, rx.dense(2)).init(KEY, xs), "bare: apply"),
        (lambda: rx.serial(model).apply(((),), xs), "bare: apply"),
        (lambda: rx.serial(rx.residual(model)).apply(((),), xs), "bare: apply"),
    ]:
        with pytest.raises(TypeError, match=rf"{name} must return \(state, y\), got "):
            call()


def test_errors_name_the_argument():
    xs = jnp.ones((T, D))
    model = rx.serial(rx.dense(3), rx.dense(2))
    params = model.init(KEY, xs)
    both = rx.bidirectional(rx.dense(3), rx.dense(2))
    both_params = both.init(KEY, xs)
    stack = rx.stack(rx.dense(3), rx.dense(2))
    uneven = rx.bidirectional(rx.dense(3), rx.dense(2), merge="sum")
    serial = r"serial\(dense\(3\), dense\(2\)\)"
    for call, error, message in [
        (lambda: rx.serial(), ValueError, "serial: expected at least one layer, got none"),
        (lambda: rx.stack(), ValueError, "stack: expected at least one cell, got none"),
        (lambda: rx.serial(3), TypeError, "cell: expected an object with functions init"),
        (lambda: rx.residual(rx.lstm), TypeError, "cell: expected an object with functions init"),
        (lambda: rx.stack(model), TypeError, "cell: expected .* 'initial_state' is 'missing'"),
        (lambda: rx.bidirectional(3, 3), TypeError, "cell: expected an object with"),
        (
            lambda: rx.bidirectional(rx.lstm(2), rx.lstm(2), merge="add"),
            ValueError,
            "merge must be one of .*, got 'add'",
        ),
        (
            lambda: model.apply(params[:1], xs),
            TypeError,
            f"{serial}: params must be a tuple of 2, one a layer, got one of 1",
        ),
        (
            lambda: model.apply(None, xs),
            TypeError,
            f"{serial}: params must be a tuple of 2, one a layer, got NoneType",
        ),
        (
            lambda: model.apply(params, xs, state=((),)),
            TypeError,
            f"{serial}: state must be a tuple of 2, one a layer, got one of 1",
        ),
        (
            lambda: both.apply(both_params, xs, state=[(), ()]),
            TypeError,
            "state must be a tuple of 2, one a layer, got list",
        ),
        (lambda: both.apply(params[0].w, xs), TypeError, "params must be a tuple of 2"),
        (lambda: stack.step(params, ((),), xs[0]), TypeError, "state must be a tuple of 2"),
        (lambda: stack.initial_state(None), TypeError, "params must be a tuple of 2"),
        (lambda: model.init(KEY, 1.0), ValueError, "xs: expected arrays with a leading time axis"),
        (
            lambda: rx.serial(rx.dense(3), rx.pool("last"), rx.dense(2)).init(KEY, xs),
            ValueError,
            r"dense\(2\)\.init: x must be .* got shape \(\)\..*; above pooling, use rx\.one_step",
        ),
        (
            lambda: model.init(KEY, xs[0]),
            ValueError,
            r"got shape \(\)\. A model is made for a whole sequence",
        ),
        (lambda: model.init(None, xs), TypeError, r"key must be one jax\.random\.key, got None"),
        (lambda: model.apply(params, xs, key=0), TypeError, "key must be one .*, got 0"),
        (lambda: model.apply(params, xs, length=9), ValueError, "length: .* from 0 to 4, got 9"),
        (
            lambda: uneven.apply(both_params, xs),
            ValueError,
            r"must have the shape of the backward output, got \(4, 3\) and \(4, 2\)",
        ),
        (
            lambda: rx.as_model(rx.residual(rx.as_model(rx.dense(3)))).apply(params[0], xs),
            ValueError,
            r"the layer's input must have the shape of its output, got \(4, 2\) and \(4, 3\)",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
