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
    teacher_weight: float = 0.0,
    consistency: float = 0.0,
    keys: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Summed cross-entropy in nats and the number of target pieces of a batch.

    With label smoothing e the target is (1 - e) one-hot + e uniform (Szegedy et al., 2016):

        loss = log sum exp(z) - (1 - e) z_y - e mean(z),    z = a W^T + b

    and where `batch.soft` holds what a teacher predicts, with weight w (Kim and Rush, 2016):

        loss = log sum exp(z) - (1 - w) ((1 - e) z_y + e mean(z)) - w (sum_k q_k z_k + r mean(z))

    q_k are its likeliest pieces' probabilities, and r what they leave of 1, spread over all pieces.
    z_y and mean(z) come from W's row y and W's mean row, so that only the log-sum-exp reads all
    of z.

    With `consistency` a the model reads each pair twice, with two draws of its dropout, and pays
    for what they disagree on (R-Drop, Liang et al., 2021), p and q being the two predictions:

        loss = (loss_p + loss_q) / 2 + a / 4 (KL(p || q) + KL(q || p))

    which is half of the paper's loss.

    Args:
      batch: `source` [B, S], `source_length` [B], `target` [B, T] ending in eos, and
        `target_length` [B]; rows of length 0 count nothing.
      teacher_weight: w; it counts where the batch has `soft`.
      consistency: a; without keys there is no dropout and nothing to disagree on.
      keys: [B], one a row; they turn dropout on, and are consumed.
    """
    matrix, bias = translator.output_matrix(params), params.output_bias

    def read(source, source_length, target, soft, key):
        ys, _ = translator.teach(params, source, source_length, shifted(target, bos), key)
        z = (rx.matmul(ys, matrix.T) + bias).astype(jnp.float32)
        right = jnp.sum(ys * matrix[target], axis=-1) + bias[target]
        mean = ys @ matrix.mean(0) + bias.mean()
        wanted = (1 - label_smoothing) * right + label_smoothing * mean
        if soft is not None:
            rest = 1 - soft.probabilities.sum(-1)
            likely = jnp.sum(soft.probabilities * jnp.take_along_axis(z, soft.pieces, -1), -1)
            wanted = (1 - teacher_weight) * wanted + teacher_weight * (likely + rest * mean)
        return jax.nn.logsumexp(z, axis=-1) - wanted, z

    def one(source, source_length, target, target_length, soft, key):
        if consistency and key is not None:
            both = jax.vmap(functools.partial(read, source, source_length, target, soft))
            nlls, z = both(jax.random.split(key))
            # The normalisers cancel, as p - q sums to 0.
            p, q = jax.nn.softmax(z, axis=-1)
            nll = nlls.mean(0) + consistency / 4 * jnp.sum((p - q) * (z[0] - z[1]), axis=-1)
        else:
            nll, _ = read(source, source_length, target, soft, key)
        return jnp.sum(jnp.where(jnp.arange(target.size) < target_length, nll, 0))

    losses = jax.vmap(one)(
        batch.source, batch.source_length, batch.target, batch.target_length, batch.soft, keys
    )
    return losses.sum(), batch.target_length.sum()


def shifted(target: jax.Array, bos: int) -> jax.Array:
    """What the decoder reads to write `target` [T]: bos, and all pieces but the last."""
    return jnp.concatenate([jnp.array([bos], target.dtype), target[:-1]])
