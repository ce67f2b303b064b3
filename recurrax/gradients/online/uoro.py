"""UORO: the influence as a product of two vectors, right in the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import Key, split_key
from recurrax.gradients.online.learner import (
    Influence,
    OnlineLearner,
    Problem,
    Pull,
    online_learner,
)


class RankOne(NamedTuple):
    """J is about `s` [n] times `theta` [P]; `key` draws the signs of the next step."""

    s: jax.Array
    theta: jax.Array
    key: Key


def uoro(cell: Any) -> OnlineLearner:
    """Unbiased online recurrent optimization, UORO (Tallec and Ollivier, 2018).

        nu uniform in {-1, 1}^n
        a_t = rho_0 D_t a_{t-1} + rho_1 nu,    b_t = b_{t-1} / rho_0 + nu B_t / rho_1
        rho_0 = sqrt(|b_{t-1}| / |D_t a_{t-1}|),    rho_1 = sqrt(|nu B_t| / |nu|)

    The product of a_t [n] and b_t [P] is J_t of `rtrl` in the mean over the signs, whatever the
    params, so that the gradient is unbiased. It is noisy, the more the longer the memory: take
    small steps, or average. Memory is n + P numbers, and a step costs about three of the cell's.

    `init` consumes a key, from which all signs are drawn.

    Args:
      cell: any cell. A step with noise of its own takes its key as ever.

    Raises:
      TypeError: `cell` is no cell; in use, no key in `init`, params that are not floating.

    Source: Tallec and Ollivier, 2018, "Unbiased online recurrent optimization". The rho there have
    a small constant added, here they are 1 where one of the norms is 0.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.gru(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> learner = rx.uoro(cell)
    >>> memory = learner.init(params, jnp.ones(3), key=jax.random.key(1))
    >>> memory, y, gradient = learner.step(params, memory, jnp.ones(3))
    >>> d_params = gradient(y)
    >>> memory.influence.s.shape, memory.influence.theta.shape
    ((4,), (100,))
    """
    return online_learner("uoro", cell, Influence(_start, _advance, _through))


def _start(problem: Problem, initial_pull: Callable[..., jax.Array], key: Any) -> RankOne:
    key, now = split_key(f"{problem.name}.init", key)
    signs = _signs(problem, now)
    return RankOne(signs.astype(problem.dtype), initial_pull(signs).astype(problem.dtype), key)


def _advance(problem: Problem, kept: RankOne, pull: Pull, at: Any) -> RankOne:
    del at
    key, now = split_key(problem.name, kept.key)
    signs = _signs(problem, now)
    direct = pull(signs)[0].astype(problem.dtype)
    # The pullback's own transpose: D a, without a second derivative rule.
    (moved,) = jax.linear_transpose(lambda d: pull(d)[1], problem.s)(kept.s.astype(problem.s.dtype))
    moved = moved.astype(problem.dtype)
    rho_0 = balance(kept.theta, moved)
    rho_1 = balance(direct, signs.astype(problem.dtype))
    return RankOne(
        rho_0 * moved + rho_1 * signs.astype(problem.dtype),
        kept.theta / rho_0 + direct / rho_1,
        key,
    )


def _through(problem: Problem, kept: RankOne, d_state: jax.Array) -> jax.Array:
    del problem
    return (d_state @ kept.s) * kept.theta


def _signs(problem: Problem, key: Key) -> jax.Array:
    return jax.random.rademacher(key, problem.s.shape, problem.s.dtype)


def balance(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """sqrt(|numerator| / |denominator|), or 1 where that is no positive number."""
    above, below = jnp.linalg.norm(numerator), jnp.linalg.norm(denominator)
    fine = (above > 0) & (below > 0)
    return jnp.where(fine, jnp.sqrt(above / jnp.where(fine, below, 1)), 1)
