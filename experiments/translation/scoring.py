"""Scores of translations, by sacrebleu and with its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Scores(NamedTuple):
    """Corpus scores from 0 to 100, and what they mean to the letter."""

    bleu: float
    chrf: float
    length_ratio: float
    """Pieces of sacrebleu's tokeniser in the hypotheses over those in the references."""
    bleu_signature: str
    chrf_signature: str


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """BLEU (Papineni et al., 2002) and chrF (Popovic, 2015), cased, tokenised by 13a.

    Raises:
      ValueError: no sentences, or unequal numbers of them.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"score: expected as many hypotheses as references and at least one, got "
            f"{len(hypotheses)} and {len(references)}"
        )
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(hypotheses, [references])
    chrf_score = chrf.corpus_score(hypotheses, [references])
    return Scores(
        bleu_score.score,
        chrf_score.score,
        bleu_score.sys_len / max(bleu_score.ref_len, 1),
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )


def bleu_interval(
    hypotheses: Sequence[str], references: Sequence[str], resamples: int = 1000
) -> float:
    """Half the width of sacrebleu's 95 % interval of BLEU, by bootstrap (Koehn, 2004).

    The resamples are drawn from sacrebleu's own seed (12345, or SACREBLEU_SEED), so that systems
    are compared on the same ones.
    """
    from sacrebleu.metrics.bleu import BLEU

    result: Any = BLEU().corpus_score(hypotheses, [references], n_bootstrap=resamples)
    return result._ci


def paired_bootstrap(
    baseline: Sequence[str], systems: Mapping[str, Sequence[str]], references: Sequence[str]
) -> dict[str, float]:
    """p of the difference in BLEU of each system from the baseline (Koehn, 2004), by sacrebleu.

    Both are scored on the same 1000 resamples of the sentences; p is the share of these, one added,
    in which the absolute difference exceeds its mean by more than the difference that is tested.
    The seed is that of `bleu_interval`. 1 for a system that wrote just what the baseline wrote.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    # To sacrebleu a difference of exactly 0 is the most significant one.
    other = {label: texts for label, texts in systems.items() if list(texts) != list(baseline)}
    found = dict.fromkeys(systems, 1.0)
    if other:
        named = [("baseline", baseline), *other.items()]
        tested: Any
        _, tested = PairedTest(named, {"BLEU": BLEU()}, [references], test_type="bs")()
        for label, result in zip(other, tested["BLEU"][1:], strict=True):
            found[label] = result.p_value
    return found


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF of each sentence: unlike BLEU, it is defined and graded for short ones."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return [
        chrf.sentence_score(hypothesis, [reference]).score
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
