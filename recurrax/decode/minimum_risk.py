"""The choice after the search: of many hypotheses, the one that is most like all the others."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.core import check_function
from recurrax.decode import checks
from recurrax.decode.utilities import Utility, text_lengths


class MinimumRiskResult(NamedTuple):
    """How the candidates of one example were ranked."""

    order: jax.Array
    """[N] int32, the rows of the candidates, best first."""
    expected: jax.Array
    """[N] expected utility of each row, in the rows' own order; -inf where a row is empty."""


def minimum_bayes_risk(
    tokens: jax.typing.ArrayLike,
    lengths: jax.typing.ArrayLike,
    utility: Utility,
    *,
    eos: int | jax.Array,
    log_weights: jax.typing.ArrayLike | None = None,
    evidence: tuple[jax.typing.ArrayLike, jax.typing.ArrayLike] | None = None,
) -> MinimumRiskResult:
    """Ranks candidates by their expected utility under the model, for one example.

        expected_i = sum_j w_j utility(candidate_i, evidence_j),    w = softmax(log_weights)

    (Kumar and Byrne 2004; with samples, Eikema and Aziz 2020.) For an n-best list the weights are
    the model's, `log_weights=result.log_probs`; for samples they are equal, since the frequent ones
    are there more often::

        samples = jax.vmap(lambda key: rx.sample(step, state, key=key, ...))(keys)
        tokens, lengths = samples.tokens[:, 0], samples.lengths[:, 0]
        ranked = rx.minimum_bayes_risk(tokens, lengths, rx.decode.ngram_f(), eos=2)
        best = tokens[ranked.order[0]]

    Equal candidates: the earlier row first. A utility of NaN makes an expected utility of NaN,
    which comes last.

    Args:
      tokens: [N, T] candidates, as the decoders return them.
      lengths: [N], the end token counted. A row of length 0 is no candidate.
      utility: a function of a pair of texts without end tokens: see `rx.decode.ngram_f`,
        `sentence_bleu` and `chrf`.
      eos: the end token; it is not compared.
      log_weights: [M], the evidence's weights, not necessarily normalised; None: equal.
      evidence: `(tokens [M, R], lengths [M])` to compare with; None: the candidates themselves.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.
    """
    name = "minimum_bayes_risk"
    check_function(name, "utility", utility)
    eos = checks.scalar(name, "eos", eos, low=0)
    tokens, lengths = _rows(name, "tokens", tokens, lengths)
    if evidence is not None and (not isinstance(evidence, tuple) or len(evidence) != 2):
        raise TypeError(f"{name}: evidence must be a pair (tokens, lengths), got {evidence!r}")
    others, other_lengths = (
        (tokens, lengths) if evidence is None else _rows(name, "evidence", *evidence)
    )
    filled = other_lengths > 0
    log_weights = jnp.zeros(filled.shape) if log_weights is None else jnp.asarray(log_weights)
    if log_weights.shape != filled.shape:
        raise ValueError(
            f"{name}: log_weights must have shape [{filled.shape[0]}], one for each row of the "
            f"evidence, got {log_weights.shape}"
        )
    weights = jnp.where(filled, jax.nn.softmax(jnp.where(filled, log_weights, -jnp.inf)), 0)
    texts = text_lengths(tokens, lengths, eos)
    other_texts = text_lengths(others, other_lengths, eos)

    def expected(row):
        # One candidate at a time: all pairs at once would hold N * M tables of T * R.
        utilities = jax.vmap(lambda *other: utility(*row, *other))(others, other_texts)
        return jnp.where(weights == 0, 0, weights * utilities).sum()

    scores = jnp.where(lengths > 0, lax.map(expected, (tokens, texts)), -jnp.inf)
    # NaN behind everything, also behind the empty rows.
    return MinimumRiskResult(jnp.argsort(-scores).astype(jnp.int32), scores)


def _rows(name: str, argument: str, tokens, lengths) -> tuple[jax.Array, jax.Array]:
    tokens, lengths = jnp.asarray(tokens), jnp.asarray(lengths)
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(
            f"{name}: {argument} must have shape [N, T] with N and T > 0 for one example, got "
            f"{tokens.shape}. Use jax.vmap for the batch"
        )
    if lengths.shape != tokens.shape[:1]:
        raise ValueError(
            f"{name}: the lengths of {argument} must have shape [{tokens.shape[0]}], got "
            f"{lengths.shape}"
        )
    for array in (tokens, lengths):
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{name}: {argument} must be integers, got {array.dtype}")
    return tokens, lengths
