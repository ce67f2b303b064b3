"""Many to one: a sequence pooled into its last valid step, its mean, its maximum, by attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.attention import Attention
from recurrax.compose.layers import Unaligned
from recurrax.core import check_floating, check_params, input_struct, split_key
from recurrax.scan.unroll import mask_padding, time_steps


def _last(xs: jax.Array, valid: jax.Array) -> jax.Array:
    is_last = valid & ~jnp.append(valid, False)[1:].reshape(valid.shape)
    return jnp.where(is_last, xs, 0).sum(0)


def _mean(xs: jax.Array, valid: jax.Array) -> jax.Array:
    wide = jnp.promote_types(xs.dtype, jnp.float32)
    return xs.sum(0, dtype=wide) / jnp.maximum(valid.sum(), 1).astype(wide)


def _max(xs: jax.Array, valid: jax.Array) -> jax.Array:
    lowest = jnp.where(valid, xs, -jnp.inf).max(0, initial=-jnp.inf)
    return jnp.where(valid.any(), lowest, 0)


_POOLS = {"last": _last, "mean": _mean, "max": _max}


def pool(how: str) -> Unaligned:
    """Pools over the valid steps: y [..] of xs [T, ..], many to one.

    Of no steps, by `length` or by T = 0, the result is zero. A layer on top has a vector for its
    input: a cell is put there with `one_step`.

    Args:
      how: "last", the last valid step; "mean", over the valid steps; "max", elementwise.

    Raises:
      ValueError: unknown `how`; `resets`, since packed data are several sequences.
      TypeError: `xs` are no arrays of floats.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> _, y = rx.pool("max").apply((), jnp.array([[1.0, -3.0], [2.0, -4.0], [9.0, 9.0]]), length=2)
    >>> print(y)
    [ 2. -3.]
    >>> classifier = rx.serial(rx.lstm(8), rx.pool("last"), rx.one_step(rx.dense(2)))
    >>> params = classifier.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> classifier.apply(params, jnp.ones((5, 3)), length=4)[1].shape
    (2,)
    """
    if how not in _POOLS:
        raise ValueError(f"pool: how must be one of {list(_POOLS)}, got {how!r}")
    name = f"pool({how!r})"

    def init(key: jax.Array, xs) -> tuple[()]:
        return ()

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        _check_one_sequence(name, resets)
        steps = time_steps(xs)
        valid, xs = mask_padding(xs, length)
        valid = jnp.ones(steps, bool) if valid is None else valid

        def pooled(leaf: jax.Array) -> jax.Array:
            check_floating(name, leaf, "xs")
            leaf = jnp.asarray(leaf)
            column = valid.reshape((steps,) + (1,) * (leaf.ndim - 1))
            return _POOLS[how](leaf, column).astype(leaf.dtype)

        return (), jax.tree.map(pooled, xs)

    return Unaligned(init, apply, name)


class AttentionPoolParams(NamedTuple):
    """`query` [M], learned, and the params of the attention."""

    query: jax.Array
    attention: Any


def attention_pool(attention: Attention) -> Unaligned:
    """Pools by attention with a learned query (Yang et al., 2016): y [M] of xs [T, M].

        y = sum_t a_t x_t,    a = softmax_t(score(query, x_t))

    over the valid steps; of no steps the result is zero. The query starts at zero, so with `dot`
    and `general` y starts as the mean.

    Args:
      attention: how to score, such as `rx.additive(features)`, which is Yang et al.'s.

    Raises:
      TypeError: `attention` is none; xs is no floating array.
      ValueError: xs is not [T, M]; `resets`, since packed data are several sequences.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.serial(rx.gru(8), rx.attention_pool(rx.additive(4)))
    >>> params = model.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> model.apply(params, jnp.ones((5, 3)))[1].shape
    (8,)
    """
    if not isinstance(attention, Attention):
        raise TypeError(f"attention_pool: expected an attention, got {attention!r}")
    name = f"attention_pool({attention})"

    def init(key: jax.Array, xs) -> AttentionPoolParams:
        xs = input_struct(name, xs, "xs", ("T", "M"))
        query = jnp.zeros(xs.shape[1:], xs.dtype)
        (attention_key,) = split_key(name, key, 1)
        return AttentionPoolParams(query, attention.init(attention_key, query, xs))

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        check_params(name, params, AttentionPoolParams)
        _check_one_sequence(name, resets)
        memory = attention.memory(params.attention, xs, length)
        return (), attention.attend(params.attention, memory, params.query)[0]

    return Unaligned(init, apply, name)


def _check_one_sequence(name: str, resets: Any) -> None:
    if resets is not None:
        raise ValueError(
            f"{name}: resets: packed data are several sequences, of which pooling would make one "
            f"vector. Unpack them, and pool each"
        )
