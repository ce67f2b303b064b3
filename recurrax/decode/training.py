"""Training through search: risks of whole sequences, and targets that the decoder writes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import check_floating
from recurrax.decode import checks
from recurrax.decode.records import BeamResult, StopReason
from recurrax.decode.utilities import Utility, text_lengths


def minimum_risk_loss(
    log_probs: jax.typing.ArrayLike,
    risks: jax.typing.ArrayLike,
    *,
    sharpness: float | jax.Array = 5e-3,
    valid: jax.typing.ArrayLike | None = None,
) -> jax.Array:
    """The expected risk of some candidates, for one example (Shen et al. 2016).

        loss = sum_n q_n risk_n,    q = softmax(sharpness log_probs)

    A search has no gradient, forced decoding has: find the candidates first, then score them again
    under the parameters that are differentiated::

        found = rx.beam_search(step(params), state, ...)  # or samples: see `distinct`
        lengths = rx.decode.text_lengths(found.tokens, found.lengths, eos=2)
        utility = jax.vmap(rx.decode.sentence_bleu(), in_axes=(0, 0, None, None))
        risks = 1 - utility(found.tokens, lengths, gold, gold_length)

        def loss(params):
            force = partial(rx.score, step(params), state, bos=1)
            log_probs = jax.vmap(force)(found.tokens, found.lengths).log_prob
            return rx.minimum_risk_loss(log_probs, risks, valid=found.lengths > 0)

    With a sharpness of 1 and every sequence as a candidate, it is the expected risk itself. The
    candidates should be distinct, since each counts as one.

    Args:
      log_probs: [N] log-probabilities of whole sequences, differentiable.
      risks: [N], lower is better; no gradient passes.
      sharpness: alpha; the default is the paper's. Traced.
      valid: [N] bool, which rows are candidates; None: all but those at -inf. Without any, the
        loss is 0.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> log_probs, risks = jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0])
    >>> value, slope = jax.value_and_grad(rx.minimum_risk_loss)(log_probs, risks, sharpness=1.0)
    >>> print(value, slope)  # less of the first, more of the second
    0.5 [ 0.25 -0.25]
    """
    name = "minimum_risk_loss"
    checks.number(name, "sharpness", sharpness)
    log_probs, risks, valid = _candidates(name, log_probs, risks, valid)
    some = valid.any()
    # Rows that are none get finite stand-ins, so that no NaN comes back through them.
    scaled = jnp.where(valid, sharpness * log_probs, -jnp.inf)
    weights = jax.nn.softmax(jnp.where(some, scaled, 0))
    return jnp.where(valid, weights * risks, 0).sum()


def sampled_risk_loss(
    log_probs: jax.typing.ArrayLike,
    risks: jax.typing.ArrayLike,
    *,
    valid: jax.typing.ArrayLike | None = None,
) -> jax.Array:
    """The mean risk of samples, with an unbiased gradient of the expected risk, for one example.

        loss = mean_n risk_n,    d loss = mean_n (risk_n - b_n) d log_prob_n

    b_n is the mean risk of the other samples (REINFORCE, Williams 1992, with the baseline of Kool
    et al. 2019); with one sample it is 0. Samples are drawn with replacement, and equal ones all
    count: do not make them distinct. Sampled with `min_length`, which the log-probabilities do not
    know of, the gradient is biased; a shortest length that the step itself keeps (`rx.processed`)
    is in both.

    Args:
      log_probs: [N] log-probabilities of whole sequences from `rx.sample`, differentiable: scored
        again as for `minimum_risk_loss`.
      risks: [N], lower is better; no gradient passes.
      valid: [N] bool, which rows are samples; None: all but those at -inf. Without any, the loss
        is 0.

    Raises:
      ValueError, TypeError: an argument of a wrong shape, while tracing.
    """
    log_probs, risks, valid = _candidates("sampled_risk_loss", log_probs, risks, valid)
    count = jnp.maximum(valid.sum(), 1)
    others = jnp.where(valid, risks.sum() - risks, 0) / jnp.maximum(count - 1, 1)
    surrogate = (jnp.where(valid, risks - others, 0) * log_probs).sum() / count
    return risks.sum() / count + surrogate - jax.lax.stop_gradient(surrogate)


def distinct(tokens: jax.typing.ArrayLike, lengths: jax.typing.ArrayLike) -> jax.Array:
    """Marks the first of equal rows: `tokens` [N, T], `lengths` [N] -> [N] bool.

    Rows of length 0 are not marked. What stands past the lengths is not looked at.

    >>> import jax.numpy as jnp
    >>> print(distinct(jnp.array([[3, 2], [3, 4], [3, 4]]), jnp.array([2, 2, 2])))
    [ True  True False]
    """
    tokens, lengths = jnp.asarray(tokens), jnp.asarray(lengths)
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1]:
        raise ValueError(
            f"distinct: tokens must have shape [N, T] and lengths [N], got {tokens.shape} and "
            f"{lengths.shape}"
        )
    past = jnp.arange(tokens.shape[1]) >= lengths[:, None]
    same = ((tokens[:, None] == tokens) | past[:, None]).all(-1) & (lengths[:, None] == lengths)
    return ~jnp.tril(same, -1).any(1) & (lengths > 0)


class Distilled(NamedTuple):
    """A target that a teacher wrote, for one example."""

    tokens: jax.Array
    """[T] with the end token, and filled up with it."""
    length: jax.Array
    """[] the end token counted."""
    row: jax.Array
    """[] int32, which hypothesis it was."""
    valid: jax.Array
    """[] bool: it ended by itself, and its utility, if there is one, is no NaN. What was cut is no
    target to learn from."""


def distilled(
    result: BeamResult,
    gold: jax.typing.ArrayLike | None = None,
    gold_length: int | jax.Array | None = None,
    *,
    eos: int | jax.Array,
    utility: Utility | None = None,
) -> Distilled:
    """A teacher's hypothesis as a student's target, for one example (Kim and Rush 2016).

    Without `gold` the teacher's best one: sequence-level knowledge distillation. With it the
    hypothesis that is most like the gold one, among all that ended: sequence-level interpolation.
    Equal utilities: the better hypothesis.

    Args:
      result: the teacher's, of `rx.beam_search` or another search.
      gold: [R] the target of the corpus; its end token may be there or not.
      gold_length: how many of its tokens count; all if None. Traced.
      eos: the end token; it is not compared.
      utility: what is most like, see `rx.decode.sentence_bleu`; given if and only if `gold` is.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.
    """
    name = "distilled"
    if (gold is None) != (utility is None):
        raise ValueError(f"{name}: gold and utility belong together: give both or neither")
    if jnp.ndim(result.lengths) != 1:
        raise ValueError(
            f"{name}: result must be of one example, with lengths of shape [N], got "
            f"{jnp.shape(result.lengths)}. Use jax.vmap for the batch"
        )
    eos = checks.scalar(name, "eos", eos, low=0)
    ended = result.stops == StopReason.EOS
    row = jnp.argmax(ended).astype(jnp.int32)
    if gold is not None and utility is not None:
        gold = jnp.asarray(gold)
        if gold.ndim != 1 or gold.shape[0] < 1:
            raise ValueError(f"{name}: gold must have shape [R] with R > 0, got {gold.shape}")
        size = gold.shape[0]
        count = checks.scalar(
            name, "gold_length", size if gold_length is None else gold_length, low=0, high=size
        )
        texts = text_lengths(result.tokens, result.lengths, eos)
        gold_text = text_lengths(gold[None], count[None], eos)[0]
        alike = jax.vmap(utility, (0, 0, None, None))(result.tokens, texts, gold, gold_text)
        known = ended & ~jnp.isnan(alike)  # NaN would be the largest
        row = jnp.argmax(jnp.where(known, alike, -jnp.inf)).astype(jnp.int32)
        ended &= known
    return Distilled(result.tokens[row], result.lengths[row], row, ended[row])


def _candidates(name, log_probs, risks, valid):
    """All three [N]; rows that are none are zero in the first two."""
    log_probs, risks = jnp.asarray(log_probs), jnp.asarray(risks)
    check_floating(name, log_probs, "log_probs")
    if log_probs.ndim != 1 or log_probs.shape[0] < 1:
        raise ValueError(
            f"{name}: log_probs must have shape [N] with N > 0 for one example, got "
            f"{log_probs.shape}. Use jax.vmap for the batch"
        )
    # NaN counts, so that it is seen.
    valid = log_probs != -jnp.inf if valid is None else jnp.asarray(valid)
    for argument, array in (("risks", risks), ("valid", valid)):
        if array.shape != log_probs.shape:
            raise ValueError(
                f"{name}: {argument} must have the shape of log_probs, {log_probs.shape}, got "
                f"{array.shape}"
            )
    if valid.dtype != bool:
        raise TypeError(f"{name}: valid must be bool, got {valid.dtype}")
    risks = jax.lax.stop_gradient(jnp.where(valid, risks, 0))
    return jnp.where(valid, log_probs, 0), risks, valid
