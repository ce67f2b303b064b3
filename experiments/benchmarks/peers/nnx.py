"""Flax nnx: `nnx.RNN` over its cells, through `nnx.split` and `nnx.merge` under `jax.jit`.

`nnx.jit` would add the walk over the module at every call, which is no part of the work.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Missing, Peer


def peer(work: Work) -> Peer:
    _, _, D, H = work.shape
    rngs = nnx.Rngs(0)
    match work.name:
        case "elman":
            cell = nnx.SimpleCell(D, H, rngs=rngs)
        case "lstm":
            cell = nnx.OptimizedLSTMCell(D, H, rngs=rngs)
        case "gru":  # without b_hn, a bias that the others have
            cell = nnx.GRUCell(D, H, rngs=rngs)
        case _:
            raise Missing("has no such cell")
    graph, state, rest = nnx.split(nnx.RNN(cell), nnx.Param, ...)
    structure = jax.tree.structure(state)

    def convert(params):
        biased, plain = ("dense_h", "dense_i") if work.name == "lstm" else ("dense_i", "dense_h")
        kernels = {"dense_i": params.w_x, "dense_h": params.w_h}
        return {
            biased: {"kernel": kernels[biased], "bias": params.b},
            plain: {"kernel": kernels[plain]},
        }

    def forward(params, xs):
        # Both are nested dicts whose keys are sorted.
        state = jax.tree.unflatten(structure, jax.tree.leaves(params))
        fresh = jax.tree.map(lambda leaf: leaf, rest)  # else it counts draws across traces
        ys: Any = nnx.merge(graph, state, fresh)(xs)
        return ys

    return Peer(convert, forward)
