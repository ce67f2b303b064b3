"""Haiku: `hk.dynamic_unroll` over its cores."""

from __future__ import annotations

import haiku as hk
import jax.numpy as jnp

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Missing, Peer, gates


def peer(work: Work) -> Peer:
    match work.name:
        case "lstm":
            make, convert = hk.LSTM, _lstm
        case "gru-before":
            make, convert = hk.GRU, _gru
        case "elman":
            raise Missing("its VanillaRNN is a relu network, without tanh")
        case "gru":
            raise Missing("its GRU resets before the product only")
        case _:
            raise Missing("has no such cell")

    def unroll(xs):
        core = make(work.shape.H)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[0]), time_major=False)[0]

    model = hk.without_apply_rng(hk.transform(unroll))
    return Peer(convert, model.apply)


def _lstm(params):
    b = params.b - jnp.repeat(jnp.array([0.0, 1, 0, 0]), params.b.size // 4)  # it adds 1 itself
    w = jnp.concatenate([params.w_x, params.w_h])
    return {"lstm/linear": {"w": gates(w, "ifgo", "igfo"), "b": gates(b, "ifgo", "igfo")}}


def _gru(params):
    names = {"w_i": params.w_x, "w_h": params.w_h, "b": params.b}
    return {"gru": {name: gates(leaf, "rzn", "zrn") for name, leaf in names.items()}}
