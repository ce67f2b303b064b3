"""How alike two texts are, counted on device: what minimum Bayes risk maximises.

A utility is any function of one pair,
`utility(tokens [T], length, reference [R], reference_length) -> scalar`, higher where the text is
nearer to the reference. Neither holds an end token. Batches, lists and lists against lists are
`jax.vmap`. Those made here lie in [0, 1], and 1 minus a utility is a risk to train on.

N-grams are compared by their tokens, never by hashes: two are equal where the matrix of equal
tokens has a diagonal run, and the n-th occurrence of one in the text is matched where the reference
has at least n. The counts are exact integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.decode import checks
from recurrax.decode.packing import packed

Utility = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def ngram_f(order: int = 4, beta: float | jax.Array = 1.0) -> Utility:
    """F-score of the n-grams of tokens, n = 1..order.

        F = (1 + beta^2) P R / (beta^2 P + R),    P = mean_n matches_n / count_n(text),
                                                  R = mean_n matches_n / count_n(reference)

    The means are over the orders that both texts have n-grams of, as in sacrebleu's chrF; 0 where
    nothing matches. `beta` weighs recall, and is traced.

    Raises:
      ValueError, TypeError: `order` is no positive int; `beta` is no number, or not above 0.
    """
    order = checks.positive("ngram_f", "order", order)
    checks.number("ngram_f", "beta", beta, above=0)

    def utility(tokens, length, reference, reference_length):
        matches, counts, reference_counts = _ngrams(
            tokens, length, reference, reference_length, order
        )
        effective = (counts > 0) & (reference_counts > 0)
        number = jnp.maximum(effective.sum(), 1)
        precision = (matches / jnp.where(effective, counts, 1)).sum() / number
        recall = (matches / jnp.where(effective, reference_counts, 1)).sum() / number
        weighted = beta**2 * precision + recall
        return (1 + beta**2) * precision * recall / jnp.where(weighted > 0, weighted, 1)

    return utility


def sentence_bleu(order: int = 4, smoothing: float | jax.Array = 1.0) -> Utility:
    """BLEU of one sentence, `smoothing` added to both counts of every n > 1 (Lin and Och 2004).

        BLEU = min(1, exp(1 - R / T)) * (prod_n p_n)^(1 / order),
        p_1 = matches_1 / T,    p_n = (matches_n + smoothing) / (count_n + smoothing)

    T and R are the numbers of tokens; 0 where no token matches. sacrebleu's add-k smoothing.

    Raises:
      ValueError, TypeError: `order` is no positive int; `smoothing` is no number, or not above 0.
    """
    order = checks.positive("sentence_bleu", "order", order)
    checks.number("sentence_bleu", "smoothing", smoothing, above=0)

    def utility(tokens, length, reference, reference_length):
        matches, counts, _ = _ngrams(tokens, length, reference, reference_length, order)
        added = jnp.where(jnp.arange(order) > 0, smoothing, 0.0)
        none = matches[0] == 0
        precisions = (matches + added) / jnp.where(none, 1, counts + added)
        brevity = jnp.minimum(0.0, 1 - reference_length / jnp.maximum(length, 1))
        geometric = jnp.log(jnp.where(none, 1, precisions)).mean()
        return jnp.where(none, 0, jnp.exp(brevity + geometric))

    return utility


def chrf(
    characters: jax.typing.ArrayLike,
    order: int = 6,
    beta: float | jax.Array = 2.0,
    *,
    size: int | None = None,
) -> Utility:
    """chrF: the F-score of the n-grams of characters (Popović 2015), spaces left out.

    The texts are spelled by `characters`, and `ngram_f` counts; times 100, it is sacrebleu's chrF.

    Args:
      characters: [V, C] integers, the characters of each token from the left, -1 past its last one:
        what `character_table` makes.
      order, beta: see `ngram_f`.
      size: the most characters of a text. The work is of order size^2, and without it there is room
        for C characters of every token. A longer text gives NaN.

    Raises:
      ValueError, TypeError: an argument out of its range.
    """
    table = jnp.asarray(characters)
    if table.ndim != 2 or not jnp.issubdtype(table.dtype, jnp.integer):
        raise ValueError(
            f"chrf: characters must be integers of shape [V, C], as character_table makes them, "
            f"got {table.dtype} of shape {table.shape}"
        )
    counted = ngram_f(order, beta)
    room = None if size is None else checks.positive("chrf", "size", size)

    def spelled(tokens, length):
        places = tokens.shape[0] * table.shape[1] if room is None else room
        spelling = table[tokens]
        keep = (spelling >= 0) & (jnp.arange(tokens.shape[0]) < length)[:, None]
        return packed(spelling.ravel(), keep.ravel(), places, -1)

    def utility(tokens, length, reference, reference_length):
        text, count = spelled(tokens, length)
        other, other_count = spelled(reference, reference_length)
        score = counted(text, count, other, other_count)
        fits = (count <= text.shape[0]) & (other_count <= other.shape[0])
        return jnp.where(fits, score, jnp.nan)

    return utility


def character_table(pieces: Sequence[str]) -> np.ndarray:
    """The characters of each token, [V, C] int32 code points, -1 past the last, for `chrf`.

    Whitespace, and the mark that sentencepiece writes for it, are left out, as chrF does. Give ""
    for what is no text, such as the start and the end token.

    >>> print(character_table(["", "▁a", "bc"]))
    [[-1 -1]
     [97 -1]
     [98 99]]
    """
    spelled = [[ord(c) for c in piece if c != "▁" and not c.isspace()] for piece in pieces]
    table = np.full((len(spelled), max(map(len, spelled), default=0)), -1, np.int32)
    for row, codes in zip(table, spelled, strict=True):
        row[: len(codes)] = codes
    return table


def text_lengths(tokens: jax.Array, lengths: jax.Array, eos: int | jax.Array) -> jax.Array:
    """`lengths` [N] of rows `tokens` [N, T] as decoders return them, the end token not counted.

    >>> print(text_lengths(jnp.array([[3, 2], [3, 4], [2, 2]]), jnp.array([2, 2, 0]), eos=2))
    [1 2 0]
    """
    last = jnp.take_along_axis(tokens, jnp.maximum(lengths - 1, 0)[:, None], 1)[:, 0]
    return lengths - ((lengths > 0) & (last == eos))


def _ngrams(tokens, length, reference, reference_length, order):
    """Matches, n-grams of the text and n-grams of the reference, [order] each."""
    starts, others = jnp.arange(tokens.shape[0]), jnp.arange(reference.shape[0])
    same = tokens[:, None] == reference
    own = tokens[:, None] == tokens
    shared, repeated, matches = same, own, []
    for n in range(1, order + 1):
        there = (shared & (others + n <= reference_length)).sum(1)
        before = (repeated & (starts < starts[:, None])).sum(1)
        matches.append(((before < there) & (starts + n <= length)).sum())
        shared, repeated = same & _diagonal(shared), own & _diagonal(repeated)
    sizes = jnp.arange(order)
    return (
        jnp.stack(matches),
        jnp.maximum(length - sizes, 0),
        jnp.maximum(reference_length - sizes, 0),
    )


def _diagonal(table: jax.Array) -> jax.Array:
    """Each entry's successor, one further in both texts."""
    return jnp.pad(table[1:, 1:], ((0, 1), (0, 1)))
