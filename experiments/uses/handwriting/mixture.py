"""A mixture of bivariate Gaussians as a network's output (Graves, 2013, equations 15 to 25).

    p(x) = sum_j pi_j N(x | mu_j, sigma_j, rho_j),
    pi = softmax(w),    sigma = exp(s),    rho = tanh(r)

All is for one point and one step. 1 - rho^2 is cosh(r)^-2, so that the density is exact where
tanh(r) rounds to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mixture(NamedTuple):
    """M Gaussians of the plane."""

    log_weight: jax.Array
    """[M] log pi."""
    mean: jax.Array
    """[M, 2]"""
    log_scale: jax.Array
    """[M, 2] log sigma."""
    r: jax.Array
    """[M]; the correlation is tanh(r)."""


def mixture(outputs: jax.Array, bias: jax.Array | float = 0.0) -> Mixture:
    """The mixture of a network's 6 M outputs.

    A probability bias b >= 0 makes it the more certain (Graves, 2013, section 5.4): weights
    softmax((1 + b) w), scales exp(s - b).
    """
    weights, x, y, scale_x, scale_y, r = jnp.split(outputs, 6)
    return Mixture(
        jax.nn.log_softmax((1 + bias) * weights),
        jnp.stack([x, y], axis=1),
        jnp.stack([scale_x, scale_y], axis=1) - bias,
        r,
    )


def log_density(mixture: Mixture, point: jax.Array) -> jax.Array:
    """log p(point), of a point [2]."""
    z = (point - mixture.mean) * jnp.exp(-mixture.log_scale)
    log_cosh = jnp.logaddexp(mixture.r, -mixture.r) - jnp.log(2.0)
    distance = z[:, 0] ** 2 + ((z[:, 1] - jnp.tanh(mixture.r) * z[:, 0]) * jnp.exp(log_cosh)) ** 2
    log_normal = -distance / 2 + log_cosh - mixture.log_scale.sum(1) - jnp.log(2 * jnp.pi)
    return jax.nn.logsumexp(mixture.log_weight + log_normal)


def expectation(mixture: Mixture) -> jax.Array:
    """[2]"""
    return jnp.exp(mixture.log_weight) @ mixture.mean


def draw(key: jax.Array, mixture: Mixture) -> jax.Array:
    """A point [2] of the mixture; consumes the key."""
    key_which, key_noise = jax.random.split(key)
    mean, log_scale, r = (
        part[jax.random.categorical(key_which, mixture.log_weight)] for part in mixture[1:]
    )
    noise = jax.random.normal(key_noise, (2,))
    correlated = jnp.tanh(r) * noise[0] + noise[1] / jnp.cosh(r)
    return mean + jnp.exp(log_scale) * jnp.stack([noise[0], correlated])
