"""Clipping inside the recurrence: of what each step hands back to the one before it.

`clipped` bounds a gradient that has already exploded: after 200 steps of growth, all that is left
of it is its direction, which is that of the oldest steps. Clipping at every step keeps the growth
from happening.

The clip is a function that is the identity, also of tangents, and whose transpose clips. As a
primitive of its own, not a `jax.custom_vjp`, it lets `rx.scan` linearise the step as any other: one
matrix product stays in the backward loop, and weight gradients are one contraction over time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from recurrax.checks import check_number
from recurrax.core import Cell, as_cell
from recurrax.gradients.bounds import bound_entries, norm_of, shrink


def clip_state_gradient(
    cell: Any, *, value: float | None = None, norm: float | None = None
) -> Cell:
    """`cell`, with bounds on what flows back through its state, at every step.

        forward    s_t, y_t = step(s_{t-1}, x_t)                     as ever
        backward   m_t = clip((ds_t/ds_{t-1})^T d_t + (dy_t/ds_{t-1})^T dL/dy_t)
                   d_{t-1} = m_t + what L takes of s_{t-1} directly

    m_t is the message of step t to the one before it, and d_t = dL/ds_t if nothing is clipped.
    Parameters and inputs get what belongs to d_t, so that an explosion reaches neither. Where both
    bounds are given, that of the entries comes first:

        value    m_i <- min(max(m_i, -value), value)     each entry
        norm     m   <- m min(1, norm / |m|)             all floating leaves of one example's state

    A message that is not finite stays so (NaN), for `rx.clipped` to skip. The result is no longer
    the gradient of any function: there is no second derivative to speak of, and a line search will
    not like it. Forward mode (`jax.jvp`, `jax.jacfwd`, RTRL) is not clipped: it has no message.

    Past a sequence's length the state is held and nothing is clipped.

    Args:
      cell: any cell.
      value, norm: positive; at least one.

    Raises:
      TypeError: `cell` is no cell; a bound is no number.
      ValueError: no bound is given, or one is not positive.

    Source: Mikolov, 2012 (thesis), for entries; Graves, 2013, "Generating sequences with recurrent
    neural networks", clips at every step of an LSTM; norms as in Pascanu et al., 2013.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> explosive = rx.Cell(lambda key, x: None, lambda p: jnp.zeros(1), lambda p, s, x: (3 * s, s))
    >>> cell = rx.clip_state_gradient(explosive, norm=1.0)
    >>> last = lambda s: rx.unroll(cell, 0, jnp.zeros(9), state=s)[0].sum()
    >>> print(jax.grad(last)(jnp.ones(1)))
    [1.]
    """
    name = "clip_state_gradient"
    cell = as_cell(cell)
    if value is None and norm is None:
        raise ValueError(f"{name}: expected a bound, value or norm, got neither")
    bounds = {
        which: check_number(name, which, bound)
        for which, bound in (("value", value), ("norm", norm))
        if bound is not None
    }

    def step(params, state, x, key=None):
        leaves, treedef = jax.tree.flatten(state)
        floating = [n for n, leaf in enumerate(leaves) if _is_floating(leaf)]
        clipped = _clip_p.bind(*(leaves[n] for n in floating), batched=0, **bounds)
        for n, leaf in zip(floating, clipped, strict=True):
            leaves[n] = leaf
        return cell.step(params, jax.tree.unflatten(treedef, leaves), x, key)

    said = ", ".join(f"{which}={bound:g}" for which, bound in bounds.items())
    return Cell(cell.init, cell.initial_state, step, f"{name}({cell}, {said})")


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _clip(
    message: Sequence[jax.Array], value: float | None = None, norm: float | None = None
) -> list[jax.Array]:
    message = list(message)
    if value is not None:
        message = [bound_entries(leaf, bound=value) for leaf in message]
    if norm is not None:
        length = norm_of(message)
        message = [shrink(leaf, bound=norm, norm=length) for leaf in message]
    return message


_clip_p = core.Primitive("clip_cotangent")
_clip_p.multiple_results = True
_clip_p.def_impl(lambda *leaves, **_: list(leaves))
_clip_p.def_abstract_eval(lambda *avals, **_: list(avals))
mlir.register_lowering(_clip_p, lambda _, *leaves, **__: leaves)


def _jvp(primals, tangents, **params):
    # The value is the argument itself, so that nothing is stored of it twice.
    return list(primals), _clip_p.bind(*map(ad.instantiate_zeros, tangents), **params)


def _transpose(cotangents, *_, batched: int, **bounds):
    clip = functools.partial(_clip, **bounds)
    for _axis in range(batched):
        clip = jax.vmap(clip)
    return clip([ad.instantiate_zeros(cotangent) for cotangent in cotangents])


def _batch(leaves, axes, *, batched: int, **bounds):
    size = next(
        leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None
    )
    rows = [
        jnp.broadcast_to(leaf, (size, *leaf.shape)) if axis is None else jnp.moveaxis(leaf, axis, 0)
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    return _clip_p.bind(*rows, batched=batched + 1, **bounds), [0] * len(rows)


ad.primitive_jvps[_clip_p] = _jvp
ad.primitive_transposes[_clip_p] = _transpose
batching.primitive_batchers[_clip_p] = _batch
