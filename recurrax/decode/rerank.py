"""Choice after search: the rows of a result by another score, and what they leave unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.decode.records import BeamResult, StopReason


def reranked(
    result: BeamResult, scores: jax.Array, *, bound: float | jax.Array = jnp.inf
) -> BeamResult:
    """The rows of one example's `result`, sorted by `scores` [N] instead of its own.

    The new scores are any function of the rows: a reverse model, a language model, a coverage
    penalty, a metric. For ranking by both directions (Li et al. 2016; as a noisy channel, Yee et
    al. 2019), with `source` as the target of a reverse model that reads the row::

        backward = jax.vmap(lambda tokens, n: rx.score(*reverse(tokens, n), source, bos=1).log_prob)
        result = rx.reranked(result, result.scores + 0.5 * backward(result.tokens, result.lengths))

    Finished rows stay before those that were cut, and empty rows last, with a score of -inf. Equal
    scores keep their order. All other fields keep their meaning and move with their row.

    Args:
      result: of one example, with N rows; batching is `jax.vmap`.
      scores: [N]; what stands in empty rows is not looked at. NaN ranks last.
      bound: what no finished sequence outside the rows can exceed in the *new* score. Where the new
        score is never above the old one, as with a penalty, `result.bound` is one, and rows are
        still proven; by default nothing is.

    Raises:
      TypeError: `result` is no `BeamResult`. ValueError: `scores` has another shape than [N].
    """
    name = "reranked"
    if not isinstance(result, BeamResult):
        raise TypeError(f"{name}: result must be a BeamResult, got {type(result).__name__}")
    scores = jnp.asarray(scores)
    if scores.shape != result.scores.shape or scores.ndim != 1:
        raise ValueError(
            f"{name}: scores must have the shape [N] of one example's rows, "
            f"{result.scores.shape}, got {scores.shape}. Use jax.vmap for the batch"
        )
    filled = result.stops != StopReason.EMPTY
    scores = jnp.where(filled & ~jnp.isnan(scores), scores, -jnp.inf).astype(result.scores.dtype)
    rank = jnp.where(filled, (result.stops == StopReason.CUT).astype(jnp.int32), 2)
    order = jnp.lexsort((-scores, rank))
    whole = {field: getattr(result, field) for field in ("bound", "steps", "invalid")}
    rows = result._replace(scores=scores, **dict.fromkeys(whole))  # None has no leaf
    moved = jax.tree.map(lambda leaf: leaf[order], rows)
    bound = jnp.asarray(bound, result.scores.dtype)
    ended = moved.stops == StopReason.EOS
    return moved._replace(**whole | {"bound": bound}, proven=ended & (moved.scores >= bound))


def replace_unknown(
    words: Sequence[str],
    attention: jax.typing.ArrayLike,
    source: Sequence[str],
    *,
    unknown: str = "<unk>",
    dictionary: Mapping[str, str] | None = None,
) -> list[str]:
    """Puts, for each unknown word, the source word that was looked at most (Jean et al. 2015).

    Args:
      words: the target words, as the decoder wrote them.
      attention: [T, S] weights, a row for each word and maybe more: `result.attention[n]`.
      source: the source words; what of S is beyond them, padding, is not looked at.
      unknown: how an unknown word is written.
      dictionary: translations of source words; a word that is not in it is copied.

    Raises:
      ValueError: `attention` has fewer rows or columns than there are words; no source word.

    >>> import recurrax as rx
    >>> weights = [[0.9, 0.1], [0.2, 0.8]]
    >>> rx.decode.replace_unknown(["in", "<unk>"], weights, ["in", "Ulm"])
    ['in', 'Ulm']
    """
    weights = np.asarray(attention)
    fits = weights.ndim == 2 and weights.shape[0] >= len(words) and weights.shape[1] >= len(source)
    if not fits or not source:
        raise ValueError(
            f"replace_unknown: attention must have shape [T, S] with T at least {len(words)} words "
            f"and S at least {len(source)} > 0 source words, got {weights.shape}"
        )
    looked_at: list[str] = [
        source[int(place)] for place in weights[: len(words), : len(source)].argmax(1)
    ]
    return [
        (dictionary or {}).get(seen, seen) if word == unknown else word
        for word, seen in zip(words, looked_at, strict=True)
    ]
