"""Processors that drop the unlikely tokens, so that a sample is never drawn from the long tail.

The rest is renormalised. Ties at the edge are kept: a result never depends on the order of tokens.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.processors import Processor, without_memory


def keep_top_k(count: int | jax.Array) -> Processor:
    """Forbids all but the `count` likeliest tokens (Fan et al. 2018)."""
    count = checks.scalar("keep_top_k", "count", count, low=1)

    def apply(logits):
        ordered = jnp.sort(logits, descending=True)
        edge = ordered[jnp.minimum(count, logits.shape[0]) - 1]
        return jnp.where(logits >= edge, logits, -jnp.inf)

    return without_memory(apply)


def keep_top_p(mass: float | jax.Array) -> Processor:
    """Forbids all but the likeliest tokens that reach `mass` together (Holtzman et al. 2020).

    `mass` lies in (0, 1]; 1 forbids nothing.
    """
    checks.number("keep_top_p", "mass", mass, above=0, high=1)
    return without_memory(lambda logits: _until(mass, -logits, logits))


def keep_min_p(share: float | jax.Array) -> Processor:
    """Forbids what is less than `share` as likely as the likeliest token (Nguyen et al. 2024).

    `share` lies in (0, 1]; 1 keeps the likeliest alone.
    """
    checks.number("keep_min_p", "share", share, above=0, high=1)
    return without_memory(
        lambda logits: jnp.where(logits >= logits.max() + jnp.log(share), logits, -jnp.inf)
    )


def keep_typical(mass: float | jax.Array) -> Processor:
    """Forbids all but the most typical tokens that reach `mass` together (Meister et al. 2023).

    A token is the more typical, the nearer its information -log p is to the entropy
    H = -sum_v p_v log p_v, the information to be expected. `mass` lies in (0, 1]; 1 forbids
    nothing.
    """
    checks.number("keep_typical", "mass", mass, above=0, high=1)

    def apply(logits):
        possible = logits > -jnp.inf
        entropy = -jnp.where(possible, jnp.exp(logits) * logits, 0).sum()
        return _until(mass, jnp.where(possible, jnp.abs(logits + entropy), jnp.inf), logits)

    return without_memory(apply)


def _until(mass: Any, cost: jax.Array, logits: jax.Array) -> jax.Array:
    """Keeps the tokens of least cost that reach `mass` together."""
    ordered, probabilities = lax.sort((cost, jnp.exp(logits)), num_keys=1)
    # A token is kept where those before it have not reached the mass; the first one always.
    # Rounded, the sum is 1 before the tail: a mass of 1 is not to be told by it.
    needed = (jnp.cumsum(probabilities) - probabilities < mass) | (mass >= 1)
    edge = jnp.where(needed, ordered, -jnp.inf).max()
    return jnp.where(cost <= edge, logits, -jnp.inf)
