"""Sums and products of all steps with one array or one number a step, the batch left where it is.

JAX's `add` and `mul` of a [T, B, H] array, B being an axis of `vmap`, and one of [H] move the batch
to the front, and so does making [T, B, H] of [T, B]; what reads the result by steps then pays for a
copy, and so does the gradient. Hence primitives that know that H comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.scan import _jax
from recurrax.scan.graph import Equation
from recurrax.scan.kinds import Kind, Kinds


def _scaled(a: jax.Array, w: jax.Array) -> jax.Array:
    """a [..., *S] times w [*S]."""
    return a * w


def _shifted(a: jax.Array, w: jax.Array) -> jax.Array:
    """a [..., *S] plus w [*S]."""
    return a + w


def _widened(a: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
    """a [...] written [..., *shape]."""
    return jax.lax.broadcast_in_dim(a, (*a.shape, *shape), tuple(range(a.ndim)))


scaled_p = _jax.primitive("scaled", _scaled, _scaled)
shifted_p = _jax.primitive("shifted", _shifted, _shifted)
widened_p = _jax.primitive("widened", _widened, _widened)


def _summed(a: jax.Array, like: Any) -> jax.Array:
    """Over the axes in front of those of `like`."""
    return a.sum(tuple(range(a.ndim - len(_jax.type_of(like).shape))))


_jax.bilinear(
    scaled_p,
    lambda ct, a, w: scaled_p.bind(ct, w),
    lambda ct, a, w: _summed(a * ct, w),
)
_jax.linear(shifted_p, lambda ct, a, w: [ct, _summed(ct, w)])
_jax.linear(widened_p, lambda ct, a, *, shape: [ct.sum(tuple(range(-len(shape), 0)))])


_jax.keep_batch(scaled_p, _scaled, jnp.ndim)
_jax.keep_batch(shifted_p, _shifted, jnp.ndim)
_jax.batching_rule(
    widened_p, lambda operands, axes, *, shape: (widened_p.bind(*operands, shape=shape), axes[0])
)


def widened(a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """An array with axes added behind, along which it is the same."""
    return widened_p.bind(a, shape=shape)


def as_spread(equation: Equation, kinds: Kinds) -> Equation | None:
    """The equation with one of the primitives, where it is such a sum or product."""
    new = {"mul": scaled_p, "add": shifted_p, "add_any": shifted_p}.get(equation.name)
    if new is None or len(equation.values) != 2:
        return None
    a, w = equation.values
    fixed = [kinds[v] == Kind.INVARIANT for v in (a, w)]
    if sum(fixed) != 1 or not a.aval.shape or a.aval.shape != w.aval.shape:
        return None
    if any(_jax.is_explicitly_sharded(v.aval) for v in (a, w)):
        return None
    side = fixed.index(False)

    def run(values: Sequence[Any]) -> list[Any]:
        return [new.bind(*_jax.same_variation(values[side], values[1 - side]))]

    return equation._replace(run=run)
