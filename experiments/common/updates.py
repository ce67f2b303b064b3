"""The end of every training step: from summed gradients to new parameters and what is logged."""

from __future__ import annotations

from typing import Any

import jax
import optax

import recurrax as rx


def update(
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    total: jax.Array,
    gradients: Any,
    count: jax.Array,
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """One update by the mean over `count` terms of a loss that sums to `total`.

    Args:
      optimizer: made by `rx.clipped`.
      gradients: of the sum.

    Returns:
      `(params, opt_state, metrics)`, the metrics as `loop.fit` wants them.
    """
    loss, gradients = jax.tree.map(lambda x: x / count, (total, gradients))
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    report = rx.clipping_report(opt_state)
    metrics = {
        "loss": loss,
        "tokens": count,
        "norm": report.norm_before,
        "skipped": report.skipped_in_a_row,
    }
    return optax.apply_updates(params, updates), opt_state, metrics
