"""The normalisation inside layer-normalised cells."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def standardize(x: jax.Array, epsilon: float) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) over a vector (Ba, Kiros and Hinton, 2016).

    In float32 at least: in half precision the mean of many numbers loses the digits that the
    difference then lacks.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean()
    return (centred * jax.lax.rsqrt((centred * centred).mean() + epsilon)).astype(x.dtype)
