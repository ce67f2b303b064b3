"""The network: one letter of V in, layers of cells, a score for each letter that may come next.

Graves (2013) and Karpathy (2015), as pure functions of ONE stream; batching is `jax.vmap`. `T`
letters, `H` features, `V` letters of the alphabet.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import recurrax as rx

CELLS = {
    "lstm": rx.lstm,
    "gru": rx.gru,
    "elman": rx.elman,
    "layer_norm_lstm": rx.layer_norm_lstm,
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network's shape, and its noise while it is trained."""

    cell: Literal["lstm", "gru", "elman", "layer_norm_lstm"] = "lstm"
    features: int = 256
    """H, of every layer."""
    layers: int = 1
    dropout: float = 0.0
    """On every layer's outputs, one mask a chunk (Gal and Ghahramani, 2016)."""
    input_dropout: float = 0.0
    """The share of the alphabet that a stream does not see for a chunk (the same)."""
    weight_dropout: float = 0.0
    """DropConnect on the recurrent matrices (Merity et al., 2018), one mask an update."""


class Params(NamedTuple):
    """The cells' params, bottom first, and the output layer."""

    layers: tuple[Any, ...]
    w: jax.Array  # [H, V]
    b: jax.Array  # [V]


class CharModel:
    """The functions of one network; it holds its configuration and alphabet size, but no params."""

    def __init__(self, config: ModelConfig, size: int):
        self.config, self.size = config, size
        cells = [CELLS[config.cell](config.features) for _ in range(config.layers)]
        self.stack = rx.stack(*cells)
        self._layers = [rx.as_model(cell) for cell in cells]

    def init(self, key: jax.Array) -> Params:
        """Draws all params; consumes the key."""
        key_layers, key_out = jax.random.split(key)
        features = self.config.features
        return Params(
            layers=self.stack.init(key_layers, jnp.zeros(self.size)),
            w=features**-0.5 * jax.random.normal(key_out, (features, self.size)),
            b=jnp.zeros(self.size),
        )

    def initial_state(self, params: Params) -> Any:
        """Before any letter: a tuple, one state a layer."""
        return self.stack.initial_state(params.layers)

    def read(
        self, params: Params, state: Any, letters: jax.Array, key: jax.Array | None = None
    ) -> tuple[Any, jax.Array]:
        """Letters [T] -> the state after them, and the scores [T, V] of what follows each.

        `key` turns dropout on and is consumed.
        """
        rate = self.config.dropout
        keys: Any = [None] * (1 + len(self._layers))
        if key is not None:
            keys = jax.random.split(key, len(keys))
        xs = rx.drop(
            keys[0], self._look_up(params, letters), self.config.input_dropout, (1, self.size)
        )
        states = []
        for layer, p, s, k in zip(self._layers, params.layers, state, keys[1:], strict=True):
            s, xs = layer.apply(p, xs, state=s)
            xs = rx.drop(k, xs, rate, (1, self.config.features))
            states.append(s)
        return tuple(states), rx.matmul(xs, params.w) + params.b

    def step(self, params: Params, state: Any, letter: jax.Array) -> tuple[Any, jax.Array]:
        """One letter further: the state and the scores [V], as `read` has them; for sampling."""
        state, h = self.stack.step(params.layers, state, self._look_up(params, letter))
        return state, h @ params.w + params.b

    def drop_weights(self, params: Params, key: jax.Array) -> Params:
        """DropConnect on every recurrent matrix `w_h`: call once an update, outside `vmap`."""
        return rx.drop_weights(key, params, self.config.weight_dropout)

    def _look_up(self, params: Params, letters: jax.Array) -> jax.Array:
        # Of mean square 1, as the cells' initial weights want their inputs: with entries of 1 the
        # letters are hardly heard at first, and the first epoch is lost.
        return self.size**0.5 * jax.nn.one_hot(letters, self.size, dtype=params.w.dtype)
