"""What training minimises: cross-entropy with label smoothing, over a batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import recurrax as rx
from experiments.translation.model import Params, Translator


def batch_loss(
    translator: Translator,
    params: Params,
    batch: Any,
    *,
    bos: int,
    label_smoothing: float = 0.0,
    keys: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Summed cross-entropy in nats and the number of target pieces of a batch.

    With label smoothing e the target is (1 - e) one-hot + e uniform (Szegedy et al., 2016):

        loss = log sum exp(z) - (1 - e) z_y - e mean(z),    z = a W^T + b

    z_y and mean(z) come from W's row y and W's mean row, so that only the log-sum-exp reads all
    of z.

    Args:
      batch: `source` [B, S], `source_length` [B], `target` [B, T] ending in eos, and
        `target_length` [B]; rows of length 0 count nothing.
      keys: [B], one a row; they turn dropout on, and are consumed.
    """
    matrix, bias = translator.output_matrix(params), params.output_bias

    def one(source, source_length, target, target_length, key):
        inputs = jnp.concatenate([jnp.array([bos], target.dtype), target[:-1]])
        ys, _ = translator.teach(params, source, source_length, inputs, key)
        z = (rx.matmul(ys, matrix.T) + bias).astype(jnp.float32)
        right = jnp.sum(ys * matrix[target], axis=-1) + bias[target]
        mean = ys @ matrix.mean(0) + bias.mean()
        nll = jax.nn.logsumexp(z, axis=-1) - (1 - label_smoothing) * right - label_smoothing * mean
        return jnp.sum(jnp.where(jnp.arange(target.size) < target_length, nll, 0))

    losses = jax.vmap(one, in_axes=(0, 0, 0, 0, None if keys is None else 0))(
        batch.source, batch.source_length, batch.target, batch.target_length, keys
    )
    return losses.sum(), batch.target_length.sum()
