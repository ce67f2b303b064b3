"""What training minimises: cross-entropy with label smoothing, over a batch."""

from __future__ import annotations

import functools
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
    consistency: float = 0.0,
    keys: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Summed cross-entropy in nats and the number of target pieces of a batch.

    With label smoothing e the target is (1 - e) one-hot + e uniform (Szegedy et al., 2016):

        loss = log sum exp(z) - (1 - e) z_y - e mean(z),    z = a W^T + b

    z_y and mean(z) come from W's row y and W's mean row, so that only the log-sum-exp reads all
    of z.

    With `consistency` a the model reads each pair twice, with two draws of its dropout, and pays
    for what they disagree on (R-Drop, Liang et al., 2021), p and q being the two predictions:

        loss = (loss_p + loss_q) / 2 + a / 4 (KL(p || q) + KL(q || p))

    which is half of the paper's loss.

    Args:
      batch: `source` [B, S], `source_length` [B], `target` [B, T] ending in eos, and
        `target_length` [B]; rows of length 0 count nothing.
      consistency: a; without keys there is no dropout and nothing to disagree on.
      keys: [B], one a row; they turn dropout on, and are consumed.
    """
    matrix, bias = translator.output_matrix(params), params.output_bias

    def read(source, source_length, target, key):
        inputs = jnp.concatenate([jnp.array([bos], target.dtype), target[:-1]])
        ys, _ = translator.teach(params, source, source_length, inputs, key)
        z = (rx.matmul(ys, matrix.T) + bias).astype(jnp.float32)
        right = jnp.sum(ys * matrix[target], axis=-1) + bias[target]
        mean = ys @ matrix.mean(0) + bias.mean()
        nll = jax.nn.logsumexp(z, axis=-1) - (1 - label_smoothing) * right - label_smoothing * mean
        return nll, z

    def one(source, source_length, target, target_length, key):
        if consistency and key is not None:
            both = jax.vmap(functools.partial(read, source, source_length, target))
            nlls, z = both(jax.random.split(key))
            # The normalisers cancel, as p - q sums to 0.
            p, q = jax.nn.softmax(z, axis=-1)
            nll = nlls.mean(0) + consistency / 4 * jnp.sum((p - q) * (z[0] - z[1]), axis=-1)
        else:
            nll, _ = read(source, source_length, target, key)
        return jnp.sum(jnp.where(jnp.arange(target.size) < target_length, nll, 0))

    losses = jax.vmap(one, in_axes=(0, 0, 0, 0, None if keys is None else 0))(
        batch.source, batch.source_length, batch.target, batch.target_length, keys
    )
    return losses.sum(), batch.target_length.sum()
