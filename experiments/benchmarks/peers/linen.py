"""Flax linen: `nn.RNN` over its cells; of its two equal LSTMs the faster, "optimized" one."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Missing, Peer


def peer(work: Work) -> Peer:
    features = work.shape.H
    match work.name:
        case "elman":
            cell, convert = nn.SimpleCell(features), _elman
        case "lstm":
            cell, convert = nn.OptimizedLSTMCell(features), _lstm
        case "gru":
            cell, convert = nn.GRUCell(features), _gru
        case _:
            raise Missing("has no such cell")
    model = nn.RNN(cell)
    return Peer(
        lambda params: {"cell": convert(params)},
        lambda params, xs: model.apply({"params": params}, xs),  # pyright: ignore
    )


def _elman(params):
    return {"i": {"kernel": params.w_x, "bias": params.b}, "h": {"kernel": params.w_h}}


def _lstm(params):
    layers = {}
    parts = (jnp.split(leaf, 4, axis=-1) for leaf in params)
    for gate, w_x, w_h, b in zip("ifgo", *parts, strict=True):
        layers["i" + gate] = {"kernel": w_x}
        layers["h" + gate] = {"kernel": w_h, "bias": b}
    return layers


def _gru(params):
    layers = {}
    parts = (jnp.split(leaf, 3, axis=-1) for leaf in params[:3])
    for gate, w_x, w_h, b in zip("rzn", *parts, strict=True):
        layers["i" + gate] = {"kernel": w_x, "bias": b}
        layers["h" + gate] = {"kernel": w_h}
    layers["hn"]["bias"] = params.b_hn
    return layers
