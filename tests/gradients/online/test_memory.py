"""How much is kept: what the structure of the step says, and nothing that grows with time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import recurrax as rx
from recurrax.gradients.online import online_value_and_grad
from tests.gradients.online.sequences import kept, sequence
from tests.support import x64


@pytest.mark.parametrize(
    ("make", "width", "expected"),
    [
        # One number a parameter; a complex state has two, for those of the recurrence.
        (lambda: rx.indrnn(5), 3, 5 * 3 + 5 + 5),
        (lambda: rx.min_gru(5), 3, 3 * 10 + 10),
        (lambda: rx.rg_lru(4, blocks=2), 4, 2 * (2 * 2 * 2 + 4) + 4),
        (lambda: rx.lru(7, state=5), 3, 2 * (3 * 5 + 2 * 3 * 5)),
        # Read-outs have none.
        (lambda: rx.stack(rx.indrnn(5), rx.dense(9)), 3, 5 * 3 + 5 + 5),
        # The lower layer reaches all above it, the upper one only itself.
        (lambda: rx.stack(rx.indrnn(2), rx.indrnn(3)), 3, 2 * (3 + 2) * (1 + 3) + 3 * (2 + 2)),
        # Heads keep to themselves: 4 of 8 units, each with c, n, m, h.
        (lambda: rx.slstm(8, heads=2), 3, 2 * (4 * 4) * ((3 + 4 + 1) * 4 * 4)),
        (lambda: rx.elman(4), 3, 4 * (4 * 4 + 3 * 4 + 4)),
    ],
)
def test_what_is_kept(make, width, expected):
    with x64():
        seq = sequence(make, width)
        assert kept(rx.rtrl(seq.cell), seq) == expected


@pytest.mark.parametrize(
    "make",
    [
        rx.rtrl,
        rx.uoro,
        *(pytest.param(m, marks=pytest.mark.slow) for m in (rx.snap, rx.eprop, rx.kf_rtrl)),
    ],
)
def test_memory_is_flat_in_time(make):
    """To the byte, for a hundred steps and for a thousand; backpropagation's is not."""
    cell = rx.elman(8)
    params = cell.init(jax.random.key(0), jnp.ones(4))
    forward = online_value_and_grad(make(cell), lambda y, _: jnp.sum(y**2))

    def backward(params, xs, key):
        return jax.grad(lambda p: jnp.sum(rx.unroll(cell, p, xs)[1] ** 2))(params)

    def temporary(function, steps):
        xs = jax.ShapeDtypeStruct((steps, 4), jnp.float32)
        compiled = jax.jit(function).lower(params, xs, jax.random.key(0)).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    needs_key = make in (rx.uoro, rx.kf_rtrl)

    def online(params, xs, key):
        return forward(params, xs, key=key if needs_key else None)

    # With a key there is one for each step of the cell, two words, and a copy of it.
    allowed = 900 * 2 * 2 * 4 if needs_key else 0
    assert temporary(online, 1000) - temporary(online, 100) <= allowed
    assert temporary(backward, 1000) - temporary(backward, 100) >= 900 * 8 * 4
