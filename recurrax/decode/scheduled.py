"""Scheduled sampling: in training, the decoder reads now and then what it wrote itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.decode import checks

TrainingStep = Callable[[Any, tuple[Any, jax.Array]], tuple[Any, Any]]


def scheduled_sampling(
    step: checks.Step,
    state: Any,
    *,
    rate: float | jax.Array,
    vocabulary: int,
    temperature: float | jax.Array | None = None,
) -> tuple[TrainingStep, Any]:
    """A step for training that reads, with probability `rate`, its own draw instead of the target.

        x_t = target_{t-1} with probability 1 - rate, or else a draw from softmax(logits_{t-1})

    (Bengio et al. 2015; each token decides for itself, and the start token is always read.) The new
    step reads a pair, and scans over targets and keys::

        step, state = rx.scheduled_sampling(step, state, rate=schedule(i), vocabulary=V)
        inputs = jnp.concatenate([jnp.array([bos]), targets[:-1]])
        _, logits = jax.lax.scan(step, state, (inputs, jax.random.split(key, T)))

    With a `temperature` the draw is soft (Goyal et al. 2017): a Gumbel softmax over the vocabulary,

        w_t = softmax((logits_{t-1} + gumbel) / temperature),

    through which gradients pass to the step that wrote it. The step then reads weights [V] instead
    of a token, one-hot for a target: `weights @ embeddings`. Near 0 it draws what the hard one
    draws with the same key.

    Any optax schedule gives the rate; the paper's inverse sigmoid is 1 - k / (k + exp(i / k)).

    Args:
      step: `(state, token) -> (state, output)`, as `rx.beam_search` takes it; with a temperature
        `(state, weights [V]) -> (state, output)`, the weights in JAX's default float dtype.
      state: any pytree of arrays, before the first step.
      rate: in [0, 1]; 0 is teacher forcing. Traced.
      vocabulary: V.
      temperature: above 0; traced. None: tokens are drawn.

    Returns:
      `(step, state)`; `step(state, (token, key)) -> (state, output)` consumes the key, and its
      output is that of the given step.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should.
    """
    name = "scheduled_sampling"
    checks.number(name, "rate", rate, low=0, high=1)
    size = checks.positive(name, "vocabulary", vocabulary)
    soft = temperature is not None
    if soft:
        checks.number(name, "temperature", temperature, above=0)

    def encoded(token):
        return jax.nn.one_hot(token, size, dtype=jnp.result_type(float)) if soft else token

    state, _, found, _ = checks.checked_step(name, lambda s, t: step(s, encoded(t)), state)
    if found != size:
        raise ValueError(f"{name}: vocabulary is {size}, but step returns logits for {found}")

    def changed(carry, inputs):
        state, drawn, started = carry
        token, key = inputs
        coin, noise = jax.random.split(key)
        own = started & jax.random.bernoulli(coin, rate)
        given = jnp.asarray(token, jnp.int32)
        state, output = step(state, jnp.where(own, drawn, encoded(given)))
        logits, _ = checks.split_output(output)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        noisy = logits + jax.random.gumbel(noise, logits.shape, logits.dtype)
        if soft:
            drawn = jax.nn.softmax(noisy / temperature).astype(drawn.dtype)
        else:
            drawn = jnp.argmax(noisy).astype(jnp.int32)
        return (state, drawn, jnp.ones((), bool)), output

    return changed, (state, jnp.zeros_like(encoded(jnp.int32(0))), jnp.zeros((), bool))
