"""Keras 3 on its JAX backend: a layer with `return_sequences`, called by `stateless_call`."""

from __future__ import annotations

import os

import jax.numpy as jnp

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Missing, Peer, gates

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras


def peer(work: Work) -> Peer:
    if keras.backend.backend() != "jax":
        raise Missing(f"runs on its {keras.backend.backend()} backend; set KERAS_BACKEND=jax")
    H = work.shape.H
    match work.name:
        case "elman":
            layer, convert = keras.layers.SimpleRNN(H, return_sequences=True), list
        case "lstm":
            layer, convert = keras.layers.LSTM(H, return_sequences=True), list
        case "gru":
            layer, convert = keras.layers.GRU(H, return_sequences=True), _gru
        case "gru-before":
            layer = keras.layers.GRU(H, return_sequences=True, reset_after=False)
            convert = _gru_before
        case _:
            raise Missing("has no such cell")
    layer.build(work.shape[:3])
    rest = [variable.value for variable in layer.non_trainable_variables]
    return Peer(convert, lambda params, xs: layer.stateless_call(params, rest, xs)[0])


def _gru(params):
    w_x, w_h, b = (gates(leaf, "rzn", "zrn") for leaf in params[:3])
    b_h = jnp.concatenate([jnp.zeros(2 * params.b_hn.size), params.b_hn])  # two biases a gate
    return [w_x, w_h, jnp.stack([b, b_h])]


def _gru_before(params):
    """In keras z = 1 keeps the state, in the texts it replaces it: sigmoid(-a) = 1 - sigmoid(a)."""
    sign = jnp.repeat(jnp.array([-1.0, 1, 1]), params.b.size // 3)
    return [gates(leaf, "rzn", "zrn") * sign for leaf in params[:3]]
