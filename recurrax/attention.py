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

from recurrax.core import (
    check_features,
    check_floating,
    check_length,
    check_params,
    input_struct,
    split_key,
)
from recurrax.initializers import glorot_uniform, per_gate
from recurrax.scan.product import matmul


class Memory(NamedTuple):
    """What is attended to: `keys` [S, A], `values` [S, M], `mask` [S], True where valid."""

    keys: jax.Array
    values: jax.Array
    mask: jax.Array


@dataclasses.dataclass(frozen=True, repr=False)
class Attention:
    """Three pure functions, for one example.

    `init(key, query, values) -> params` consumes the key; `query` [Q] and `values` [S, M] are
    arrays or `jax.ShapeDtypeStruct`s. `memory(params, values, length=None) -> Memory`.
    `attend(params, memory, query) -> (context [M], weights [S])`: weights are zero where the mask
    is False and sum to one; over an empty memory both are zero.

    Raises:
      TypeError: what is attended to or with is no floating array, params are another attention's,
        `memory` is no `Memory`. ValueError: wrong ranks or widths; `length` out of range.
    """

    init: Callable[[jax.Array, Any, Any], Any]
    memory: Callable[..., Memory]
    attend: Callable[[Any, Memory, jax.Array], tuple[jax.Array, jax.Array]]
    name: str = "attention"

    def __repr__(self) -> str:
        return self.name


def _attention(name: str, params_type: type, draw, key_of, score) -> Attention:
    """The shared part: checks, masking, softmax, mean.

    `draw(key, query, values) -> params`, `key_of(params, values) -> [S, A]`,
    `score(params, keys, query) -> [S]`.
    """

    def init(key: jax.Array, query, values):
        query = input_struct(name, query, "query", ("Q",))
        return draw(key, query, input_struct(name, values, "values", ("S", "M")))

    def memory(params, values: jax.Array, length: int | jax.Array | None = None) -> Memory:
        check_params(name, params, params_type)
        check_floating(name, values, "values")
        if values.ndim != 2:
            raise ValueError(f"{name}: values must have shape [S, M], got {values.shape}")
        steps = values.shape[0]
        mask = jnp.arange(steps) < (steps if length is None else check_length(length, steps))
        # Zeros instead of padding: 0 * NaN would reach the context and the gradients.
        values = jnp.where(mask[:, None], values, jnp.zeros_like(values))
        return Memory(key_of(params, values), values, mask)

    def attend(params, memory: Memory, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        check_params(name, params, params_type)
        if not isinstance(memory, Memory):
            raise TypeError(
                f"{name}: memory must be the Memory that memory(params, values) makes, got "
                f"{type(memory).__name__}"
            )
        check_floating(name, query, "query")
        if query.ndim != 1:
            raise ValueError(f"{name}: query must have shape [Q], got {query.shape}")
        scores = score(params, memory.keys, query)
        wide = jnp.promote_types(scores.dtype, jnp.float32)
        weights = _masked_softmax(scores.astype(wide), memory.mask).astype(scores.dtype)
        return weights @ memory.values, weights

    return Attention(init, memory, attend, name)


def _check_width(name: str, argument: str, got: int, expected: int, hint: str = "") -> None:
    """Raises where the last axis of an argument is not as wide as the other side of a product."""
    if got != expected:
        raise ValueError(f"{name}: {argument} must have width {expected}, got {got}{hint}")


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
      TypeError, ValueError: `features` is no positive int.

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

    def draw(key: jax.Array, query, values) -> AdditiveParams:
        key_q, key_k, key_v = split_key(name, key, 3)
        glorot = per_gate(glorot_uniform, 1)
        return AdditiveParams(
            w_query=glorot(key_q, (query.shape[-1], features), query.dtype),
            w_key=glorot(key_k, (values.shape[-1], features), values.dtype),
            v=glorot(key_v, (features, 1), query.dtype)[:, 0],
        )

    def key_of(params: AdditiveParams, values: jax.Array) -> jax.Array:
        _check_width(name, "values", values.shape[-1], params.w_key.shape[0])
        return matmul(values, params.w_key)

    def score(params: AdditiveParams, keys: jax.Array, query: jax.Array) -> jax.Array:
        _check_width(name, "query", query.shape[-1], params.w_query.shape[0])
        _check_width(name, "memory.keys", keys.shape[-1], params.v.shape[0])
        return jnp.tanh(keys + query @ params.w_query) @ params.v

    return _attention(name, AdditiveParams, draw, key_of, score)


class GeneralParams(NamedTuple):
    """`w_key` [M, Q]."""

    w_key: jax.Array


def general() -> Attention:
    """General (bilinear) attention (Luong et al., 2015): score_s = q . (m_s W)."""
    name = "general()"

    def draw(key: jax.Array, query, values) -> GeneralParams:
        shape = (values.shape[-1], query.shape[-1])
        return GeneralParams(per_gate(glorot_uniform, 1)(key, shape, values.dtype))

    def key_of(params: GeneralParams, values: jax.Array) -> jax.Array:
        _check_width(name, "values", values.shape[-1], params.w_key.shape[0])
        return matmul(values, params.w_key)

    def score(params: GeneralParams, keys: jax.Array, query: jax.Array) -> jax.Array:
        _check_width(name, "query", query.shape[-1], keys.shape[-1])
        return keys @ query

    return _attention(name, GeneralParams, draw, key_of, score)


def dot() -> Attention:
    """Dot-product attention (Luong et al., 2015): score_s = q . m_s, with Q = M and no params."""
    return _dot("dot()", lambda width: 1.0)


def scaled_dot() -> Attention:
    """Scaled dot-product attention (Vaswani et al., 2017): score_s = q . m_s / sqrt(Q), Q = M."""
    return _dot("scaled_dot()", lambda width: width**-0.5)


def _dot(name: str, scale: Callable[[int], float]) -> Attention:
    def check(query, values) -> None:
        hint = "; where query and values differ in width, general() maps one to the other"
        _check_width(name, "query", query.shape[-1], values.shape[-1], hint)

    def draw(key, query, values) -> tuple[()]:
        check(query, values)
        return ()

    def key_of(params: tuple[()], values: jax.Array) -> jax.Array:
        if params:  # a tuple as well, but another attention's
            raise TypeError(f"{name}: params must be the () that init makes, got {params!r}")
        return values

    def score(params: tuple[()], keys: jax.Array, query: jax.Array) -> jax.Array:
        check(query, key_of(params, keys))
        return keys @ query * scale(query.shape[-1])

    return _attention(name, tuple, draw, key_of, score)
