"""Scores are sacrebleu's, and say which."""

import pytest

from experiments.translation.scoring import score, sentence_scores

REFERENCES = ["The small dog sleeps in the garden .", "She reads a book to the children ."]


def test_scores():
    perfect = score(REFERENCES, REFERENCES)
    assert perfect.bleu == pytest.approx(100)
    assert perfect.chrf == pytest.approx(100)
    assert perfect.length_ratio == 1
    assert "tok:13a" in perfect.bleu_signature
    assert "case:mixed" in perfect.bleu_signature
    assert "nc:6" in perfect.chrf_signature
    lower = score([text.lower() for text in REFERENCES], REFERENCES)
    assert lower.bleu < 90
    half = score(["The small dog", "She reads a"], REFERENCES)
    assert half.length_ratio == pytest.approx(6 / 16)
    assert score(["", ""], REFERENCES).bleu == 0
    best, worst = sentence_scores(["She reads a book to the children .", ""], [REFERENCES[1]] * 2)
    assert best > 99
    assert worst == 0


@pytest.mark.parametrize("hypotheses", [[], ["one"]])
def test_unequal_numbers_are_refused(hypotheses):
    with pytest.raises(ValueError, match="as many hypotheses as references"):
        score(hypotheses, REFERENCES if hypotheses else [])
