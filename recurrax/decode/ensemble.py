"""Several models that decode as one.

Each has its own step and its own state, of any structure; they share the vocabulary. The result is
a step and a state again, for any search, sampler or forced decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrax.core import check_function
from recurrax.decode import checks
from recurrax.decode.processors import log_probs
from recurrax.decode.records import StepOutput

Model = tuple[checks.Step, Any]


def ensemble(
    models: Sequence[Model],
    *,
    weights: jax.typing.ArrayLike | None = None,
    mean: str = "linear",
) -> Model:
    """The step and the state of a mean of models, each a pair `(step, state)`::

        step, state = rx.ensemble([(step_1, state_1), (step_2, state_2)])
        result = rx.beam_search(step, state, ...)

    `"linear"`: p(v) = sum_i w_i p_i(v), a mixture; the weights are divided by their sum.
    `"log_linear"`: p(v) = prod_i p_i(v)^{w_i} / Z, where all must agree; the weights are taken as
    they are, and Z makes the probabilities sum to one.

    Args:
      models: at least one.
      weights: [n], not negative; equal ones that sum to one by default. Traced. A model of weight 0
        has no say, in what it forbids neither.
      mean: which.

    Returns:
      `(step, state)`: the state is the tuple of the models' states; the attention is the tuple of
      their attentions.

    Raises:
      ValueError: no models; an unknown mean; weights of a wrong shape, negative, or in a linear
        mean all 0; vocabularies of different sizes. TypeError: a model is no such pair.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> sure = lambda state, token: (state, jnp.log(jnp.array([0.9, 0.1])))
    >>> unsure = lambda state, token: (state, jnp.log(jnp.array([0.5, 0.5])))
    >>> for mean in "linear", "log_linear":
    ...     step, state = rx.ensemble([(sure, 0), (unsure, 0)], mean=mean)
    ...     print((100 * jnp.exp(rx.decode.log_probs(step(state, 0)[1].logits))).round())
    [70. 30.]
    [75. 25.]
    """
    name = "ensemble"
    models = tuple(models)
    if not models:
        raise ValueError(f"{name}: models must not be empty")
    _check_models(name, models)
    if mean not in ("linear", "log_linear"):
        raise ValueError(f"{name}: mean must be 'linear' or 'log_linear', got {mean!r}")
    if weights is None:
        weights = np.full(len(models), 1 / len(models))
    if np.shape(weights) != (len(models),):
        raise ValueError(f"{name}: weights must have shape [{len(models)}], got {weights}")
    if not isinstance(weights, Tracer) and not (np.asarray(weights) >= 0).all():
        raise ValueError(f"{name}: weights must not be negative, got {weights}")
    if not isinstance(weights, Tracer) and mean == "linear" and not np.asarray(weights).any():
        raise ValueError(f"{name}: weights must not all be 0 in a linear mean, got {weights}")

    def step(states, token):
        after, outputs, attention = _read(name, [model for model, _ in models], states, token)
        votes = jnp.asarray(weights, outputs.dtype)
        if mean == "linear":
            logits = jax.nn.logsumexp(outputs + jnp.log(votes / votes.sum())[:, None], axis=0)
        else:
            logits = _weighted(votes, outputs)
        return after, StepOutput(logits, attention)

    return step, tuple(state for _, state in models)


def shallow_fusion(model: Model, language_model: Model, weight: float | jax.Array) -> Model:
    """The step and the state of log p(v) + weight * log p_LM(v) (Gulcehre et al. 2015).

    Normalised, as every distribution here: p(v) is proportional to p(v) p_LM(v)^weight. A negative
    weight takes an internal language model away again. The state is the pair of both states; the
    attention is the model's.

    Args:
      model, language_model: pairs `(step, state)` over one vocabulary.
      weight: traced; 0 is the model alone.

    Raises:
      ValueError: vocabularies of different sizes. TypeError: a model is no such pair.
    """
    name = "shallow_fusion"
    _check_models(name, (model, language_model))
    checks.number(name, "weight", weight)

    def step(states, token):
        after, outputs, attention = _read(name, [model[0], language_model[0]], states, token)
        votes = jnp.stack([jnp.ones((), outputs.dtype), jnp.asarray(weight, outputs.dtype)])
        return after, StepOutput(_weighted(votes, outputs), attention[0])

    return step, (model[1], language_model[1])


def _check_models(function: str, models: Sequence[Any]) -> None:
    for model in models:
        if not isinstance(model, tuple) or len(model) != 2:
            raise TypeError(f"{function}: each model must be a pair (step, state), got {model!r}")
        check_function(function, "each model's step", model[0])


def _read(function: str, steps: Sequence[checks.Step], states: Any, token: jax.Array):
    """The states after a token, the log-probabilities [n, V] and the attentions."""
    results = [step(state, token) for step, state in zip(steps, states, strict=True)]
    outputs = [checks.split_output(output, function) for _, output in results]
    sizes = [logits.shape for logits, _ in outputs]
    if len(set(sizes)) > 1:
        raise ValueError(f"{function}: the models must share one vocabulary, got logits of {sizes}")
    rows = jnp.stack([log_probs(logits) for logits, _ in outputs])
    return tuple(state for state, _ in results), rows, tuple(attention for _, attention in outputs)


def _weighted(votes: jax.Array, outputs: jax.Array) -> jax.Array:
    """sum_i w_i log p_i(v): what one forbids stays forbidden, unless its weight is 0."""
    votes = votes[:, None]
    terms = jnp.where(votes == 0, 0, votes * outputs)
    return jnp.where((outputs == -jnp.inf) & (votes != 0), -jnp.inf, terms).sum(0)
