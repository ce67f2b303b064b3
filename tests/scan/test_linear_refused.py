"""What is not linear in the state is refused by the associative method, and why is said."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import recurrax as rx

N, T = 4, 7

by_scan = functools.partial(rx.scan, method="associative")
unrolled = functools.partial(rx.unroll, method="associative")


def _cond(h, x):
    return h + lax.cond(x[0] > 0, lambda: x, lambda: 2 * x), h


H, K = jnp.ones(N), jnp.ones(3)
REFUSED = {
    "tanh": (
        lambda h, x: (jnp.tanh(h) + x, h),
        H,
        r"tanh is applied to the state, .* leaf float32\[4\]",
    ),
    "product": (lambda h, x: (h @ jnp.ones((N, N)), h), H, "dot_general is applied to the state"),
    "square": (lambda h, x: (h * h, h), H, "mul is applied to two values that depend"),
    "power": (lambda h, x: (h**3, h), H, "integer_pow is applied"),
    "division": (lambda h, x: (x / h, h), H, "div is by a value that depends"),
    "predicate": (lambda h, x: (jnp.where(h > 0, h, x), h), H, "gt is applied to the state"),
    "flag": (
        lambda s, x: ((jnp.where(s[1], s[0], x), s[1] ^ True), s),
        (H, jnp.bool_(True)),
        r"xor is applied to the state, .* leaf bool\[\]",
    ),
    "chosen": (
        lambda s, x: ((s[0], jnp.where(s[1], s[1], x > 0)), s[0]),
        (H, H > 0),
        r"select_n is by a predicate that depends on the state, .* leaf bool\[4\]",
    ),
    "moved": (lambda h, x: (h[::-1] + x, h), H, "depends on another element"),
    "mixed": (lambda h, x: (h + h[::-1], h), H, "add is applied to different elements"),
    "sum": (lambda h, x: (h.sum() + x, h), H, "reduce_sum is applied"),
    "stopped": (lambda h, x: (lax.stop_gradient(h) + x, h), H, "stop_gradient is applied"),
    "narrow": (
        lambda s, x: (s.astype(jnp.int8).astype(jnp.int32) + 100, s),
        jnp.zeros(N, jnp.int32),
        "converted from int8 to the wider int32",
    ),
    "shapes": (
        lambda s, x: ((s[0] + s[1][0], s[1] + s[0][:3]), s),
        (H, K),
        r"have the shapes \[\(4,\), \(3,\)\], .* leaf float32\[4\] and float32\[3\]",
    ),
    "second": (
        lambda s, x: ((0.5 * s[0] + x, jnp.sin(s[1]) + s[0][:3]), s),
        (H, K),
        r"sin is applied to the state, .* leaf float32\[3\]",
    ),
    "complex": (
        lambda h, x: (jnp.conj(h) + x, h.real),
        H + 0j,
        "conj is applied to a complex state",
    ),
    "rounded": (
        lambda h, x: (h.astype(int).astype(float) * 0.5, h),
        H,
        "converted from float32 to int32",
    ),
    "keys": (
        lambda k, x: (jax.tree.map(lambda a: jnp.where(x[0] > 0, a, a), k), x),
        jax.random.key(0),
        "there are no sums of key",
    ),
    "pinned": (_cond, H, "cond must be run step by step, for the carry"),
    "pinned output": (
        lambda h, x: (h + x, lax.cond(x[0] > 0, lambda: h, lambda: x)),
        H,
        "cond must be run step by step, for the outputs",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_not_linear_is_refused(name):
    f, init, message = REFUSED[name]
    lax.scan(f, init, jnp.ones((3, N)))  # a step as any other
    with pytest.raises(ValueError, match="linear recurrences.*" + message):
        by_scan(f, init, jnp.ones((3, N)))


def test_cells_that_are_not_linear_are_refused():
    xs = jnp.ones((T, 3))
    for cell in (rx.elman(4), rx.gru(4), rx.lstm(4)):
        params = cell.init(jax.random.key(0), xs[0])
        with pytest.raises(ValueError, match="dot_general is applied to the state"):
            unrolled(cell, params, xs)
