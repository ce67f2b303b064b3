"""What a search found, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import recurrax as rx
from experiments.translation.decoding import Decoding
from experiments.translation.tokenizer import BLANK, BOS, EOS, PAD, UNK, Tokenizer, Vocabularies


class Hypothesis(NamedTuple):
    """One translation of one sentence."""

    text: str
    score: float
    """Log-probability in nats after the penalties; its expected utility, where mbr chose it."""
    log_prob: float
    pieces: list[int]
    """Target pieces, without the end."""
    attention: np.ndarray
    """[pieces and the end, source pieces and the end]."""
    stop: rx.StopReason
    gap: float
    """How much better, at most, a translation that was not found can be."""
    proven: bool
    """It ended, and its gap is 0."""


def hypotheses(
    found: rx.BeamResult,
    gaps: np.ndarray,
    source: str,
    source_length: int,
    vocabularies: Vocabularies,
    decoding: Decoding,
    n_best: int,
) -> list[Hypothesis]:
    """The best `n_best` rows of one sentence, from the host; fewer where there are fewer."""
    kept: list[Hypothesis] = []
    for k, stop in enumerate(map(rx.StopReason, found.stops)):
        if stop == rx.StopReason.EMPTY or len(kept) == n_best:
            break
        length = int(found.lengths[k])
        pieces = [int(piece) for piece in found.tokens[k, :length] if piece != EOS]
        if decoding.search == "diverse" and pieces in [h.pieces for h in kept]:
            continue  # another group found it, too
        attention = found.attention[k, :length, :source_length]
        text = vocabularies.target.decode(pieces)
        if decoding.replace_unknown and UNK in pieces:
            text = _replaced(pieces, attention, source, vocabularies)
        score, log_prob = float(found.scores[k]), float(found.log_probs[k])
        gap, proven = float(gaps[k]), bool(found.proven[k])
        kept.append(Hypothesis(text, score, log_prob, pieces, attention, stop, gap, proven))
    return kept


def _replaced(
    pieces: list[int], attention: np.ndarray, source: str, vocabularies: Vocabularies
) -> str:
    labels = rx.decode.replace_unknown(
        written(vocabularies.target, pieces),
        attention,
        vocabularies.source.surfaces(source),
        unknown=vocabularies.target.labels([UNK])[0],
    )
    return "".join(labels).replace(BLANK, " ").strip()


def written(tokenizer: Tokenizer, pieces: Sequence[int]) -> list[str]:
    """Labels, but nothing for pieces that leave no trace in a sentence."""
    return [
        "" if piece in (PAD, BOS, EOS) else label
        for piece, label in zip(pieces, tokenizer.labels(pieces), strict=True)
    ]
