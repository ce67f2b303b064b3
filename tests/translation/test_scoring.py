"""Scores are sacrebleu's, and say which."""

import numpy as np
import pytest

from experiments.translation.scoring import paired_bootstrap, score, sentence_scores

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


def test_the_paired_test_is_a_bootstrap_of_the_difference():
    random = np.random.default_rng(0)
    count, resamples = 20, 200
    references = [" ".join(row) for row in random.choice(list("abcdefgh"), (count, 12))]

    def damaged(share):
        words = [list(text.split()) for text in references]
        hit = random.random((count, 12)) < share
        return [
            " ".join("x" if bad else word for word, bad in zip(*row, strict=True))
            for row in zip(words, hit, strict=True)
        ]

    base = damaged(0.15)
    systems = {"like it": damaged(0.15), "itself": base, "far worse": damaged(0.6)}
    found = paired_bootstrap(base, systems, references)
    assert list(found) == list(systems)
    assert found["itself"] == 1
    assert found["far worse"] < 0.01

    def difference(rows):
        texts = [[many[row] for row in rows] for many in (base, systems["like it"], references)]
        return score(texts[0], texts[2]).bleu - score(texts[1], texts[2]).bleu

    seen = abs(difference(range(count)))
    drawn = np.abs([difference(random.integers(0, count, count)) for _ in range(resamples)])
    by_chance = np.mean(drawn - drawn.mean() > seen)
    assert 0.05 < by_chance < 0.95
    assert found["like it"] == pytest.approx(by_chance, abs=0.12)  # 3 deviations of 200 draws
    assert paired_bootstrap(base, {}, references) == {}


@pytest.mark.parametrize("hypotheses", [[], ["one"]])
def test_unequal_numbers_are_refused(hypotheses):
    with pytest.raises(ValueError, match="as many hypotheses as references"):
        score(hypotheses, REFERENCES if hypotheses else [])
