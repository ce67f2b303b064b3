"""Equinox: `jax.lax.scan` over its cells under `jax.vmap`, as in its examples."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Missing, Peer


def peer(work: Work) -> Peer:
    _, _, D, H = work.shape
    key, zeros = jax.random.key(0), jnp.zeros(work.shape.H)
    match work.name:
        case "lstm":
            cell, initial, output = eqx.nn.LSTMCell(D, H, key=key), (zeros, zeros), lambda s: s[0]
        case "gru":
            cell, initial, output = eqx.nn.GRUCell(D, H, key=key), zeros, lambda s: s
        case "elman":
            raise Missing("has no simple recurrent cell")
        case _:
            raise Missing("has no such cell")

    def convert(params):
        names = {"weight_ih": params.w_x.T, "weight_hh": params.w_h.T, "bias": params.b}
        return names if work.name == "lstm" else names | {"bias_n": params.b_hn}

    def forward(params, xs):
        model = eqx.tree_at(
            lambda c: [getattr(c, name) for name in params], cell, [*params.values()]
        )

        def step(state, x):
            state = model(x, state)
            return state, output(state)

        return jax.vmap(lambda x: jax.lax.scan(step, initial, x)[1])(xs)

    return Peer(convert, forward)
