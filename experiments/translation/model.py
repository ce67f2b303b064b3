"""The translator: a bidirectional encoder, and an attention decoder with input feeding.

Bahdanau, Cho and Bengio (2015) and Luong, Pham and Manning (2015), as pure functions of ONE
sentence pair; batching is `jax.vmap`. `S` source and `T` target length, `E` embedding, `M` memory,
`H` decoder features, `F` attentional vector, `V` vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import recurrax as rx

CELLS = {"lstm": rx.lstm, "gru": rx.gru, "elman": rx.elman}
ATTENTIONS = {
    "additive": rx.additive,
    "general": lambda features: rx.general(),
    "dot": lambda features: rx.dot(),
    "scaled_dot": lambda features: rx.scaled_dot(),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The translator's shape. Widths are numbers of features."""

    cell: Literal["lstm", "gru", "elman"] = "lstm"
    attention: Literal["additive", "general", "dot", "scaled_dot"] = "additive"
    embedding: int = 256
    encoder: int = 256
    """Features of each direction; the memory is twice as wide."""
    encoder_layers: int = 1
    decoder: int = 512
    decoder_layers: int = 1
    attention_features: int = 512
    """Hidden layer of additive attention."""
    attentional: int = 512
    """The vector that is fed back and from which the next piece is predicted."""
    input_feeding: bool = True
    tie: Literal["none", "output", "embeddings", "all"] = "none"
    """Matrices that are one: target embedding and output; the two embeddings; all three."""
    dropout: float = 0.3
    """On embeddings, between layers, on the memory and around the attentional vector."""
    variational: bool = True
    """One dropout mask a sentence instead of one a step (Gal and Ghahramani, 2016)."""
    weight_dropout: float = 0.0
    """DropConnect on the recurrent matrices (Merity et al., 2018), one mask a batch."""
    word_dropout: float = 0.0
    """The share of embedded pieces that are zeroed whole."""


class Params(NamedTuple):
    """A tied matrix stands once; its other names are None."""

    source_embedding: jax.Array  # [V, E]
    target_embedding: jax.Array | None  # [V, E]
    encoder: Any
    bridge: tuple[Any, ...]  # [M] -> one state a decoder layer
    decoder: Any
    attention: Any
    combine: Any  # [H + M] -> [F]
    output: jax.Array | None  # [V, F]
    output_bias: jax.Array  # [V]


class DecoderState(NamedTuple):
    """What the decoder carries from piece to piece."""

    layers: tuple[Any, ...]
    feed: jax.Array  # [F], the last attentional vector


class Encoded(NamedTuple):
    """A sentence, read."""

    memory: rx.Memory
    state: DecoderState


class Masks(NamedTuple):
    """The decoder's dropout masks, each [T, width] or [1, width]: already scaled."""

    between: tuple[jax.Array, ...]
    combined: jax.Array


class Translator:
    """The functions of one translator; it holds its configuration and sizes, but no params."""

    def __init__(self, config: ModelConfig, source_size: int, target_size: int):
        if config.tie in ("embeddings", "all") and source_size != target_size:
            raise ValueError(
                f"tie={config.tie!r} needs one joint vocabulary, got {source_size} source and "
                f"{target_size} target pieces"
            )
        if config.tie in ("output", "all") and config.attentional != config.embedding:
            raise ValueError(
                f"tie={config.tie!r} needs attentional == embedding, got {config.attentional} "
                f"and {config.embedding}"
            )
        self.config = config
        self.sizes = (source_size, target_size)
        cell = CELLS[config.cell]
        layers: list[Any] = []
        for _ in range(config.encoder_layers):
            if layers:
                layers.append(rx.dropout(config.dropout, variational=config.variational))
            layers.append(rx.bidirectional(cell(config.encoder), cell(config.encoder)))
        self.encoder = rx.serial(*layers)
        self.decoder = [cell(config.decoder) for _ in range(config.decoder_layers)]
        self.attention = ATTENTIONS[config.attention](config.attention_features)
        self.combine = rx.dense(config.attentional, activation=jnp.tanh)

    def init(self, key: jax.Array, dtype: Any = jnp.float32) -> Params:
        """Draws all params; consumes the key."""
        c = self.config
        keys = iter(jax.random.split(key, 9 + c.decoder_layers))
        memory_width = 2 * c.encoder

        def vector(width: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((width,), dtype)

        def table(rows: int, width: int) -> jax.Array:
            return width**-0.5 * jax.random.normal(next(keys), (rows, width), dtype)

        widths = [c.embedding + (c.attentional if c.input_feeding else 0)]
        widths += [c.decoder] * (c.decoder_layers - 1)
        decoder = tuple(
            cell.init(next(keys), vector(width))
            for cell, width in zip(self.decoder, widths, strict=True)
        )
        return Params(
            source_embedding=table(self.sizes[0], c.embedding),
            target_embedding=(
                None if c.tie in ("embeddings", "all") else table(self.sizes[1], c.embedding)
            ),
            encoder=self.encoder.init(next(keys), jax.ShapeDtypeStruct((1, c.embedding), dtype)),
            bridge=tuple(
                rx.dense(self._state_width(cell, p), activation=jnp.tanh).init(
                    next(keys), vector(memory_width)
                )
                for cell, p in zip(self.decoder, decoder, strict=True)
            ),
            decoder=decoder,
            attention=self.attention.init(
                next(keys), vector(c.decoder), jax.ShapeDtypeStruct((1, memory_width), dtype)
            ),
            combine=self.combine.init(next(keys), vector(c.decoder + memory_width)),
            output=None if c.tie in ("output", "all") else table(self.sizes[1], c.attentional),
            output_bias=jnp.zeros(self.sizes[1], dtype),
        )

    def encode(
        self, params: Params, source: jax.Array, length: Any, key: jax.Array | None = None
    ) -> Encoded:
        """Reads a sentence [S] of which `length` pieces are valid; `key` turns dropout on."""
        c = self.config
        key_embed, key_word, key_encoder, key_memory = _split(key, 4)
        xs = self._embed(params.source_embedding, source, key_embed, key_word)
        state, ys = self.encoder.apply(params.encoder, xs, length=length, key=key_encoder)
        ys = rx.drop(key_memory, ys, c.dropout, self._mask_shape(ys))
        memory = self.attention.memory(params.attention, ys, length)
        # The bridge: the last layer's two final outputs start every decoder layer.
        last = jnp.concatenate([_output(state[-1].forward), _output(state[-1].backward)])
        layers = tuple(
            self._unflatten(cell, p, jnp.tanh(last @ bridge.w + bridge.b))
            for cell, p, bridge in zip(self.decoder, params.decoder, params.bridge, strict=True)
        )
        return Encoded(memory, DecoderState(layers, jnp.zeros(c.attentional, ys.dtype)))

    def decode(
        self,
        params: Params,
        memory: rx.Memory,
        state: DecoderState,
        embedded: jax.Array,
        masks: Masks | None = None,
    ) -> tuple[DecoderState, tuple[jax.Array, jax.Array]]:
        """One piece further: returns the state, the attentional vector [F] and the weights [S]."""
        x = jnp.concatenate([embedded, state.feed]) if self.config.input_feeding else embedded
        layers = []
        for index, (cell, p, s) in enumerate(
            zip(self.decoder, params.decoder, state.layers, strict=True)
        ):
            if index and masks is not None:
                x = x * masks.between[index - 1]
            s, x = cell.step(p, s, x)
            layers.append(s)
        context, weights = self.attention.attend(params.attention, memory, x)
        combined = jnp.concatenate([x, context])
        if masks is not None:
            combined = combined * masks.combined
        _, attentional = self.combine.step(params.combine, (), combined)
        return DecoderState(tuple(layers), attentional), (attentional, weights)

    def teach(
        self,
        params: Params,
        source: jax.Array,
        source_length: Any,
        inputs: jax.Array,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Teacher forcing: the attentional vectors [T, F] and weights [T, S] for inputs [T]."""
        key_encode, key_embed, key_word, key_masks, key_out = _split(key, 5)
        memory, state = self.encode(params, source, source_length, key_encode)
        xs = self._embed(self._target_embedding(params), inputs, key_embed, key_word)
        masks = self._masks(key_masks, inputs.shape[0], xs.dtype)
        constant = self.config.variational or masks is None

        def step(state, x):
            embedded, step_masks = x
            if constant:
                step_masks = None if masks is None else jax.tree.map(lambda m: m[0], masks)
            return self.decode(params, memory, state, embedded, step_masks)

        _, (ys, weights) = rx.scan(step, state, (xs, None if constant else masks))
        return rx.drop(key_out, ys, self.config.dropout, self._mask_shape(ys)), weights

    def logits(self, params: Params, attentional: jax.Array) -> jax.Array:
        """Scores [..., V] of the next piece from attentional vectors [..., F]."""
        return rx.matmul(attentional, self.output_matrix(params).T) + params.output_bias

    @property
    def pieces(self) -> int:
        """V: the number of target pieces."""
        return self.sizes[1]

    def output_matrix(self, params: Params) -> jax.Array:
        """[V, F], whichever matrix it is tied to."""
        return self._target_embedding(params) if params.output is None else params.output

    def step(self, params: Params, memory: rx.Memory, state: DecoderState, piece: jax.Array):
        """One step of a search: `(state, rx.StepOutput(logits [V], attention [S]))`."""
        embedded = self._look_up(self._target_embedding(params), piece)
        state, (attentional, weights) = self.decode(params, memory, state, embedded)
        return state, rx.StepOutput(self.logits(params, attentional), weights)

    def drop_weights(self, params: Params, key: jax.Array) -> Params:
        """DropConnect on every recurrent matrix `w_h`: call once a batch, outside `vmap`."""
        recurrent = params.encoder, params.decoder
        encoder, decoder = rx.drop_weights(key, recurrent, self.config.weight_dropout)
        return params._replace(encoder=encoder, decoder=decoder)

    def _target_embedding(self, params: Params) -> jax.Array:
        tied = params.target_embedding is None
        return params.source_embedding if tied else params.target_embedding  # type: ignore[return-value]

    def _look_up(self, table: jax.Array, pieces: jax.Array) -> jax.Array:
        # Rows are drawn with entries of size E^-1/2, as an output matrix needs them; as inputs
        # they have entries of size 1, or the first layers hardly see them.
        return table[pieces] * self.config.embedding**0.5

    def _embed(self, table, pieces, key, key_word) -> jax.Array:
        xs = self._look_up(table, pieces)
        xs = rx.drop(key, xs, self.config.dropout, self._mask_shape(xs))
        return rx.drop(key_word, xs, self.config.word_dropout, (*xs.shape[:-1], 1))

    def _mask_shape(self, xs: jax.Array) -> tuple[int, ...] | None:
        return (1, *xs.shape[1:]) if self.config.variational else None

    def _masks(self, key: jax.Array | None, steps: int, dtype: Any) -> Masks | None:
        c = self.config
        if key is None or c.dropout == 0:
            return None
        steps = 1 if c.variational else steps
        *between, combined = (
            rx.drop(k, jnp.ones((steps, width), dtype), c.dropout)
            for k, width in zip(
                jax.random.split(key, c.decoder_layers),
                [c.decoder] * (c.decoder_layers - 1) + [c.decoder + 2 * c.encoder],
                strict=True,
            )
        )
        return Masks(tuple(between), combined)

    @staticmethod
    def _state_width(cell: rx.Cell, params: Any) -> int:
        state = jax.eval_shape(cell.initial_state, params)
        return sum(leaf.size for leaf in jax.tree.leaves(state))

    @staticmethod
    def _unflatten(cell: rx.Cell, params: Any, flat: jax.Array) -> Any:
        _, unravel = ravel_pytree(cell.initial_state(params))
        return unravel(flat)


def _output(state: Any) -> jax.Array:
    """h, of a cell whose state holds more than it."""
    return getattr(state, "h", state)


def _split(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    return [None] * count if key is None else list(jax.random.split(key, count))
