"""Random step functions: small programs over vectors of three numbers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from jax import lax

from tests.scan.steps import draw

N = 3


class Program(NamedTuple):
    """`code`: (instruction, two operands); `carry` and `ys`: which values are given back."""

    code: tuple[tuple[str, int, int], ...]
    carry: tuple[int, int]
    ys: tuple[int, ...]


def _nested(a, b, p):
    return lax.scan(lambda s, x: (jnp.tanh(s @ p["w"] + x), s), a, jnp.stack([b, a]))[0]


def _while(a, b, p):
    del p
    return lax.fori_loop(0, 2, lambda i, v: jnp.sin(v + b), a)


@jax.custom_jvp
def _cube(a):
    return a**3


_cube.defjvp(lambda primals, tangents: (_cube(*primals), 3 * primals[0] ** 2 * tangents[0]))


INSTRUCTIONS = {
    "product": lambda a, b, p: a @ p["w"],
    "product_other": lambda a, b, p: a @ p["u"],
    "product_left": lambda a, b, p: p["w"] @ b,
    "product_transposed": lambda a, b, p: a @ p["u"].T,
    "product_sliced": lambda a, b, p: a @ p["v"][1 : N + 1],
    "product_joined": lambda a, b, p: jnp.concatenate([a, b]) @ p["v"],
    "product_joined_left": lambda a, b, p: p["v"].T @ jnp.concatenate([b, a]),
    "product_of_outer": lambda a, b, p: jnp.outer(a, b) @ p["w"][0],
    "product_of_keys": lambda a, b, p: jnp.tanh(p["keys"] + a).T @ p["weights"],
    "dot": lambda a, b, p: jnp.dot(a, b) * a,
    "add": lambda a, b, p: a + b,
    "bias": lambda a, b, p: a + p["b"] + b,
    "scale": lambda a, b, p: p["b"] * a,
    "sub": lambda a, b, p: a - b,
    "mul": lambda a, b, p: a * b,
    "div": lambda a, b, p: a / (1.5 + b * b),
    "tanh": lambda a, b, p: jnp.tanh(a),
    "sigmoid": lambda a, b, p: jax.nn.sigmoid(a),
    "relu": lambda a, b, p: jax.nn.relu(a) + b,
    "softmax": lambda a, b, p: jax.nn.softmax(a),
    "norm": lambda a, b, p: (a - a.mean()) / jnp.sqrt(a.var() + 0.1),
    "sum": lambda a, b, p: a.sum() + b,
    "roll": lambda a, b, p: jnp.concatenate([a[1:], b[:1]]),
    "where": lambda a, b, p: jnp.where(a > 0, a, b),
    "index": lambda a, b, p: a.at[jnp.argmax(b)].add(0.5),
    "stop": lambda a, b, p: lax.stop_gradient(a) + b,
    # Not to float32: what two orders of a sum differ by would decide how it rounds.
    "cast": lambda a, b, p: a.astype(jnp.complex128).real,
    "cond": lambda a, b, p: lax.cond(a.sum() > 0, lambda: a @ p["w"], lambda: b),
    "nested": _nested,
    "custom_jvp": lambda a, b, p: _cube(0.5 * a),
    "checkpoint": lambda a, b, p: jax.checkpoint(lambda a: jnp.sin(a @ p["w"]))(a),
    "loop": _while,
    "constant": lambda a, b, p: jnp.arange(N) * 0.3 + a,
}


def step_of(program: Program):
    """The step: `(params, (h, k), x) -> ((h, k), ys)`; the state stays bounded."""

    def step(params, carry, x):
        pool = [*carry, x, params["b"]]
        for name, i, j in program.code:
            pool.append(INSTRUCTIONS[name](pool[i % len(pool)], pool[j % len(pool)], params))
        new = tuple(jnp.tanh(pool[-1 - i % len(pool)]) for i in program.carry)
        ys = [pool[-1 - i % len(pool)] for i in program.ys]
        return new, (ys, ys[0].sum() > 0)

    return step


def arguments(steps: int = 4):
    """Params, the initial state, xs."""
    w, u, v, b, keys, weights = draw((N, N), (N, N), (2 * N, N), (N,), (4, N), (4,))
    params = {"w": w, "u": u, "v": v, "b": b, "keys": keys, "weights": weights}
    h, k, xs = draw((N,), (N,), (steps, N), seed=3)
    return params, (h, k), xs


def programs() -> st.SearchStrategy[Program]:
    """Programs of up to nine instructions."""
    operand = st.integers(0, 30)
    line = st.tuples(st.sampled_from(sorted(INSTRUCTIONS)), operand, operand)
    return st.builds(
        Program,
        st.lists(line, min_size=2, max_size=9).map(tuple),
        st.tuples(st.integers(0, 6), st.integers(0, 6)),
        st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple),
    )
