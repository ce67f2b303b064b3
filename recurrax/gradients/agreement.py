"""How far an estimated gradient is from the exact one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import PyTree
from recurrax.gradients.bounds import wide_norm_of


class GradientAgreement(NamedTuple):
    """How an estimate compares with the exact gradient, leaf by leaf and over `all` leaves.

    `cosine` of the angle between them, and `relative_error`, |estimate - exact| / |exact|; trees of
    scalars, NaN where the exact gradient is zero, the cosine also where the estimate is.
    """

    cosine: PyTree
    relative_error: PyTree
    cosine_of_all: jax.Array
    relative_error_of_all: jax.Array


def gradient_agreement(estimate: PyTree, exact: PyTree) -> GradientAgreement:
    """The bias of a gradient that was truncated, or of one realisation of a noisy one.

    Both for the same params and data: for truncated BPTT, the gradients of all chunks added up, and
    that of the sum of the losses over the whole sequence.

    Gradients that have vanished almost are compared as any others: their squares, which float32
    would not hold, are not formed.

    Raises:
      ValueError: the two have not the same structure.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> from recurrax.gradients import gradient_agreement
    >>> agreement = gradient_agreement({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([3.0, 4.0])})
    >>> round(float(agreement.cosine["w"]), 2), round(float(agreement.relative_error["w"]), 2)
    (0.6, 0.8)
    """
    if jax.tree.structure(estimate) != jax.tree.structure(exact):
        raise ValueError(
            f"gradient_agreement: estimate must have the structure of exact, "
            f"{jax.tree.structure(exact)}, got {jax.tree.structure(estimate)}"
        )

    def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.vdot(a / wide_norm_of([a]), b / wide_norm_of([b]))

    def error(a: jax.Array, b: jax.Array) -> jax.Array:
        return wide_norm_of([a - b]) / wide_norm_of([b])

    wide = jnp.promote_types(jnp.result_type(*jax.tree.leaves(exact)), jnp.float32)
    estimate, exact = (
        jax.tree.map(lambda leaf: jnp.ravel(leaf).astype(wide), tree) for tree in (estimate, exact)
    )
    flat = [jnp.concatenate(jax.tree.leaves(tree)) for tree in (estimate, exact)]
    return GradientAgreement(
        jax.tree.map(cosine, estimate, exact),
        jax.tree.map(error, estimate, exact),
        cosine(*flat),
        error(*flat),
    )
