"""Coverage penalties: a translation should look at every source word, and at none too often.

They are functions of the attention that a search reports, to be added to the scores of its rows.
Both are at most zero, so that the bound of the search holds for the sum, and rows stay proven::

    penalty = jax.vmap(lambda weights: rx.wu_coverage(weights, 0.2))(result.attention)
    result = rx.reranked(result, result.scores + penalty, bound=result.bound)

`weights` [T, S] are one hypothesis's: the attention over the S source positions while it chose each
of its T tokens, the end token too, and zero past its length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.decode import checks


def wu_coverage(
    weights: jax.Array,
    strength: float | jax.Array,
    source_length: int | jax.Array | None = None,
) -> jax.Array:
    """strength * sum_s log min(sum_t a_ts, 1) (Wu et al. 2016, equation 14).

    Their score is this one plus the log-probability under the `rx.gnmt` length penalty.

    Args:
      weights: [T, S]; see above.
      strength: beta, not negative; traced.
      source_length: how many of the S positions are the source; all by default. Traced.

    Returns:
      A scalar, at most zero. A position that was never looked at costs the logarithm of the least
      positive number, not infinity.

    Raises:
      ValueError, TypeError: wrong shapes, a negative strength.
    """
    coverage, valid = _coverage("wu_coverage", weights, strength, source_length)
    seen = jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1)
    return strength * jnp.where(valid, jnp.log(seen), 0).sum()


def excess_coverage(
    weights: jax.Array,
    strength: float | jax.Array,
    source_length: int | jax.Array | None = None,
) -> jax.Array:
    """-strength * sum_s max(sum_t a_ts - 1, 0): what was looked at more than once.

    It is the "summary" penalty of OpenNMT-py, which can only grow from step to step.

    Args, returns, raises: see `rx.wu_coverage`.
    """
    coverage, valid = _coverage("excess_coverage", weights, strength, source_length)
    return -strength * jnp.where(valid, jnp.maximum(coverage - 1, 0), 0).sum()


def _coverage(
    function: str, weights: jax.Array, strength: float | jax.Array, source_length
) -> tuple[jax.Array, jax.Array]:
    """sum_t a_ts [S], and which positions count."""
    checks.number(function, "strength", strength, low=0)
    if not hasattr(weights, "ndim") or weights.ndim != 2:
        raise ValueError(
            f"{function}: weights must have shape [T, S] for one hypothesis, got "
            f"{np.shape(weights)}. Use jax.vmap for several"
        )
    size = weights.shape[1]
    count = size if source_length is None else source_length
    count = checks.scalar(function, "source_length", count, low=0, high=size)
    wide = jnp.promote_types(weights.dtype, jnp.float32)
    return weights.sum(0, dtype=wide), jnp.arange(size) < count
