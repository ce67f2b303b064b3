"""Attention of one query over a memory: additive, dot, scaled dot, general.

All score a query q [Q] against the keys of S positions and return the mean of the values under the
softmax of the scores. What depends on the memory alone is computed once, in `memory`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import check_features
from recurrax.initializers import glorot_uniform, per_gate


class Memory(NamedTuple):
    """What is attended to: `keys` [S, A], `values` [S, M], `mask` [S], True where valid."""

    keys: jax.Array
    values: jax.Array
    mask: jax.Array


@dataclasses.dataclass(frozen=True, repr=False)
class Attention:
    """Three pure functions, for one example.

    `init(key, query, values) -> params` consumes the key; `query` [Q] and `values` [S, M] are arrays
    or `jax.ShapeDtypeStruct`s. `memory(params, values, length=None) -> Memory`.
    `attend(params, memory, query) -> (context [M], weights [S])`: weights are zero where the mask
    is False and sum to one; over an empty memory both are zero.
    """

    init: Callable[[jax.Array, Any, Any], Any]
    memory: Callable[..., Memory]
    attend: Callable[[Any, Memory, jax.Array], tuple[jax.Array, jax.Array]]
    name: str = "attention"

    def __repr__(self) -> str:
        return self.name


def _attention(name: str, init, key_of, score) -> Attention:
    """The shared part: masking, softmax, mean. `score(params, keys, query) -> [S]`."""

    def memory(params, values: jax.Array, length: int | jax.Array | None = None) -> Memory:
        if jnp.ndim(values) != 2:
            raise ValueError(f"{name}: values must have shape [S, M], got {jnp.shape(values)}")
        steps = values.shape[0]
        mask = jnp.arange(steps) < (steps if length is None else length)
        # Zeros instead of padding: 0 * NaN would reach the context and the gradients.
        values = jnp.where(mask[:, None], values, jnp.zeros_like(values))
        return Memory(key_of(params, values), values, mask)

    def attend(params, memory: Memory, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        if jnp.ndim(query) != 1:
            raise ValueError(f"{name}: query must have shape [Q], got {jnp.shape(query)}")
        scores = score(params, memory.keys, query)
        wide = jnp.promote_types(scores.dtype, jnp.float32)
        weights = _masked_softmax(scores.astype(wide), memory.mask).astype(scores.dtype)
        return weights @ memory.values, weights

    return Attention(init, memory, attend, name)


def _masked_softmax(scores: jax.Array, mask: jax.Array) -> jax.Array:
    lowest = jnp.finfo(scores.dtype).min
    scores = jnp.where(mask, scores, lowest)
    exps = jnp.where(mask, jnp.exp(scores - jax.lax.stop_gradient(scores.max(initial=lowest))), 0)
    total = exps.sum()
    return exps / jnp.where(total == 0, 1, total)


class AdditiveParams(NamedTuple):
    """`w_query` [Q, A], `w_key` [M, A], `v` [A]."""

    w_query: jax.Array
    w_key: jax.Array
    v: jax.Array


def additive(features: int) -> Attention:
    """Additive attention (Bahdanau et al., 2015): score_s = v . tanh(q W_q + m_s W_k).

    Args:
      features: A, the width of the hidden layer; `w_key` is applied once, in `memory`.

    Raises:
      TypeError, ValueError: `features` is no positive int; wrong ranks.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> attention = rx.additive(8)
    >>> params = attention.init(jax.random.key(0), jnp.ones(4), jnp.ones((5, 6)))
    >>> memory = attention.memory(params, jnp.ones((5, 6)), length=2)
    >>> context, weights = attention.attend(params, memory, jnp.ones(4))
    >>> print(weights)
    [0.5 0.5 0.  0.  0. ]
    """
    name = f"additive({features})"
    check_features(name, features)

    def init(key: jax.Array, query, values) -> AdditiveParams:
        key_q, key_k, key_v = jax.random.split(key, 3)
        draw = per_gate(glorot_uniform, 1)
        return AdditiveParams(
            w_query=draw(key_q, (query.shape[-1], features), query.dtype),
            w_key=draw(key_k, (values.shape[-1], features), values.dtype),
            v=draw(key_v, (features, 1), query.dtype)[:, 0],
        )

    def score(params: AdditiveParams, keys: jax.Array, query: jax.Array) -> jax.Array:
        return jnp.tanh(keys + query @ params.w_query) @ params.v

    return _attention(name, init, lambda params, values: values @ params.w_key, score)


class GeneralParams(NamedTuple):
    """`w_key` [M, Q]."""

    w_key: jax.Array


def general() -> Attention:
    """General (bilinear) attention (Luong et al., 2015): score_s = q . (m_s W)."""

    def init(key: jax.Array, query, values) -> GeneralParams:
        shape = (values.shape[-1], query.shape[-1])
        return GeneralParams(per_gate(glorot_uniform, 1)(key, shape, values.dtype))

    def score(params: GeneralParams, keys: jax.Array, query: jax.Array) -> jax.Array:
        return keys @ query

    return _attention("general()", init, lambda params, values: values @ params.w_key, score)


def dot() -> Attention:
    """Dot-product attention (Luong et al., 2015): score_s = q . m_s, with Q = M and no params."""
    return _dot("dot()", lambda width: 1.0)


def scaled_dot() -> Attention:
    """Scaled dot-product attention (Vaswani et al., 2017): score_s = q . m_s / sqrt(Q), Q = M."""
    return _dot("scaled_dot()", lambda width: width**-0.5)


def _dot(name: str, scale: Callable[[int], float]) -> Attention:
    def check(query, values) -> None:
        if query.shape[-1] != values.shape[-1]:
            raise ValueError(
                f"{name}: the query's width {query.shape[-1]} must be the values' width "
                f"{values.shape[-1]}; general() maps one to the other"
            )

    def init(key, query, values) -> tuple[()]:
        check(query, values)
        return ()

    def score(params, keys: jax.Array, query: jax.Array) -> jax.Array:
        check(query, keys)
        return keys @ query * scale(query.shape[-1])

    return _attention(name, init, lambda params, values: values, score)
