"""How far an estimated gradient is from the exact one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import PyTree


class GradientAgreement(NamedTuple):
    """How an estimate compares with the exact gradient, leaf by leaf and over `all` leaves.

    `cosine` of the angle between them, and `relative_error`, |estimate - exact| / |exact|; trees of
    scalars, NaN where the exact gradient is zero.
    """

    cosine: PyTree
    relative_error: PyTree
    cosine_of_all: jax.Array
    relative_error_of_all: jax.Array


def gradient_agreement(estimate: PyTree, exact: PyTree) -> GradientAgreement:
    """The bias of a gradient that was truncated, or of one realisation of a noisy one.

    Both for the same params and data: for truncated BPTT, the gradients of all chunks added up, and
    that of the sum of the losses over the whole sequence.

    Raises:
      ValueError: the two have not the same structure.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> from recurrax.gradients import gradient_agreement
    >>> agreement = gradient_agreement({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([3.0, 4.0])})
    >>> round(float(agreement.cosine["w"]), 2), round(float(agreement.relative_error["w"]), 2)
    (0.6, 0.8)
    """
    leaves = jax.tree.leaves(estimate), jax.tree.leaves(exact)
    if jax.tree.structure(estimate) != jax.tree.structure(exact):
        raise ValueError(
            f"gradient_agreement: estimate must have the structure of exact, "
            f"{jax.tree.structure(exact)}, got {jax.tree.structure(estimate)}"
        )

    def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))

    def error(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)

    flat = [jnp.concatenate([jnp.ravel(leaf) for leaf in side]) for side in leaves]
    return GradientAgreement(
        jax.tree.map(lambda a, b: cosine(jnp.ravel(a), jnp.ravel(b)), estimate, exact),
        jax.tree.map(lambda a, b: error(jnp.ravel(a), jnp.ravel(b)), estimate, exact),
        cosine(*flat),
        error(*flat),
    )
