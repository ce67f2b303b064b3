"""The options of a search: each does what it says, and none depends on the batch."""

import collections
import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

import recurrax as rx
from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.translation.decoding import Decoding
from experiments.translation.ensemble import Ensemble
from experiments.translation.search import Search
from experiments.translation.tokenizer import EOS
from tests.translation.test_search import Searcher, padded, same

PENALTY = 0.8
BATCH = 4


class Setting(Searcher):
    """Sentences of one batch, and so one program for each search."""

    def __init__(self):
        super().__init__()
        self.sentences = self.sentences[:BATCH]

    @functools.cache  # noqa: B019 - one object a session
    def made(self, decoding, beam_size=3, n_best=1):
        return Search(
            self.translator,
            self.vocabularies,
            data_mesh(BATCH, jax.devices()[:1]),
            batch_size=BATCH,
            beam_size=beam_size,
            n_best=n_best,
            decoding=dataclasses.replace(decoding, length_penalty=PENALTY),
        )

    def find(self, beam_size=3, n_best=1, **options):
        # Nothing that is traced makes a Search of its own.
        traced = {k: v for k, v in options.items() if k in ("budget", "seed", "length_penalty")}
        fixed = {k: v for k, v in options.items() if k not in traced}
        search = self.made(Decoding(**{"patience": np.inf} | fixed), beam_size, n_best)
        return search(self.params, self.sentences, **traced)

    @functools.cache  # noqa: B019
    def lengths(self):
        return [len(self.vocabularies.source.encode(s)) + 1 for s in self.sentences]


@pytest.fixture(scope="module")
def setting():
    return Setting()


def first(found):
    return [hypotheses[0] for hypotheses in found]


@pytest.mark.slow
def test_exact_search_proves_what_a_beam_did_not(setting):
    # Without a penalty: with one, what a long translation may still gain is too much to exclude.
    plain = {"length_penalty": 0.0}
    beam, hasty, exact = (
        first(found)
        for found in (
            setting.find(beam_size=1, **plain),
            setting.find(beam_size=1, search="exact", budget=1, **plain),
            setting.find(beam_size=1, search="exact", budget=100_000, **plain),
        )
    )
    assert any(one.gap > 0 for one in beam)
    assert any(one.gap > 0 for one in hasty)
    wide = first(setting.find(beam_size=20, **plain))
    for before, after, other in zip(beam, exact, wide, strict=True):
        assert after.gap == 0
        assert after.stop == rx.StopReason.EOS
        assert after.score >= other.score - 1e-5
        if before.stop == rx.StopReason.EOS:
            # The gap was right: nothing exceeds it.
            assert before.score - 1e-5 <= after.score <= before.score + before.gap + 1e-5
        if other.gap == 0:
            same(after, other)
    assert any(other.gap == 0 for other in wide)


@pytest.mark.slow
def test_draws_from_the_likeliest_piece_alone_are_greedy_search(setting):
    greedy = first(setting.find(search="greedy"))
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        drawn = first(setting.find(search="sample", **options))
        assert [one.pieces for one in drawn] == [one.pieces for one in greedy]


def test_draws_depend_on_the_seed_and_on_the_sentence_alone(setting):
    draws = setting.find(search="sample", n_best=8)
    alone = Search(
        setting.translator,
        setting.vocabularies,
        data_mesh(BATCH, jax.devices()[:1]),
        batch_size=1,
        n_best=8,
        decoding=Decoding(search="sample", length_penalty=PENALTY),
    )(setting.params, setting.sentences)
    for one, two in zip(draws, alone, strict=True):
        assert [h.pieces for h in one] == [h.pieces for h in two]
        ranks = [(h.stop != rx.StopReason.EOS, -h.score) for h in one]  # what was cut comes last
        assert ranks == sorted(ranks)
    other = setting.find(search="sample", n_best=8, seed=2**32 - 1)
    assert [h.pieces for h in other[0]] != [h.pieces for h in draws[0]]
    for hypotheses in setting.find(search="stochastic", n_best=8):
        assert len({tuple(h.pieces) for h in hypotheses}) == len(hypotheses) == 8


@pytest.mark.slow
def test_diverse_groups(setting):
    one = setting.find(beam_size=4, n_best=4, search="diverse", diversity=2.0)
    for mine, theirs in zip(one, setting.find(beam_size=4, n_best=4), strict=True):
        for pair in zip(mine, theirs, strict=True):
            same(*pair)
    many = setting.find(beam_size=4, n_best=4, search="diverse", groups=2, diversity=0.0)
    # Two groups that nothing keeps apart find the same, which stands once.
    assert [len(hypotheses) for hypotheses in many] == [2] * BATCH
    apart = setting.find(beam_size=4, n_best=4, search="diverse", groups=2, diversity=5.0)
    assert max(len(hypotheses) for hypotheses in apart) > 2
    for hypotheses in apart:
        assert len({tuple(h.pieces) for h in hypotheses}) == len(hypotheses)


def ngram_f(text, reference):
    """F of runs of one to four pieces: mean precision and mean recall over the orders of both."""
    precisions, recalls = [], []
    for n in range(1, 5):
        mine, theirs = (
            collections.Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1))
            for t in (text, reference)
        )
        if mine and theirs:
            matches = (mine & theirs).total()
            precisions.append(matches / mine.total())
            recalls.append(matches / theirs.total())
    precision, recall = np.mean(precisions or [0]), np.mean(recalls or [0])
    return 2 * precision * recall / (precision + recall or 1)


@pytest.mark.parametrize("candidates", [0, 6])
def test_minimum_bayes_risk_chooses_what_is_most_like_the_others(setting, candidates):
    count = candidates or 3
    found = setting.find(search="mbr", candidates=candidates, beam_size=3, n_best=count)
    for hypotheses in found:
        weights = np.ones(count) / count
        if not candidates:
            weights = np.exp([h.log_prob for h in hypotheses])
            weights /= weights.sum()
        expected = [
            weights @ np.array([ngram_f(h.pieces, other.pieces) for other in hypotheses])
            for h in hypotheses
        ]
        np.testing.assert_allclose([h.score for h in hypotheses], expected, rtol=1e-4, atol=1e-6)
        ended = [h.score for h in hypotheses if h.stop == rx.StopReason.EOS]
        assert ended == sorted(ended, reverse=True)


@pytest.mark.parametrize("utility", ["bleu", "chrf"])
def test_other_utilities_rank_too(setting, utility):
    for hypotheses in setting.find(search="mbr", candidates=0, n_best=3, utility=utility):
        assert all(0 <= h.score <= 1 for h in hypotheses)
        assert hypotheses[0].score > 0


def test_what_no_translation_may_be(setting):
    def repeats(pieces):
        runs = list(itertools.pairwise(pieces))
        return len(runs) > len(set(runs))

    def tokens(one):
        return len(one.pieces) + (one.stop == rx.StopReason.EOS)

    options = {"min_ratio": 2.0, "max_ratio": 2.5}
    free = first(setting.find(**options))
    assert any(repeats(one.pieces) for one in free)
    bound = first(setting.find(**options, no_repeat=2))
    assert not any(repeats(one.pieces) for one in bound)
    for one, length in zip(free + bound, setting.lengths() * 2, strict=True):
        assert round(2 * length) <= tokens(one) <= round(2.5 * length) + 10
    for one, length in zip(first(setting.find(max_ratio=0.1)), setting.lengths(), strict=True):
        assert tokens(one) <= round(0.1 * length) + 10


def test_required_phrases_are_there(setting):
    phrases = ("the dog", "sleeps")
    wanted = [setting.vocabularies.target.encode(phrase) for phrase in phrases]
    for one in first(setting.find(require=phrases)):
        for phrase in wanted:
            starts = range(len(one.pieces))
            assert any(one.pieces[i : i + len(phrase)] == phrase for i in starts), one.text
    with pytest.raises(UserError, match="'漢' has a character that no training sentence had"):
        setting.find(require=("漢",))


def test_coverage_ranks_what_was_found(setting):
    plain = setting.find(beam_size=4, n_best=4)
    covered = setting.find(beam_size=4, n_best=3, coverage=0.7, excess_coverage=0.4)
    for before, after in zip(plain, covered, strict=True):
        seen = [h.attention.sum(0) for h in before]
        scores = [
            h.score + 0.7 * np.log(np.minimum(s, 1)).sum() - 0.4 * np.maximum(s - 1, 0).sum()
            for h, s in zip(before, seen, strict=True)
        ]
        cut = [h.stop != rx.StopReason.EOS for h in before]
        order = sorted(range(4), key=lambda k: (cut[k], -scores[k]))[:3]
        assert [h.pieces for h in after] == [before[k].pieces for k in order]
        np.testing.assert_allclose([h.score for h in after], [scores[k] for k in order], rtol=1e-4)
    assert [h[0].pieces for h in plain] != [h[0].pieces for h in covered]


@pytest.mark.parametrize("mean", ["linear", "log_linear"])
def test_an_ensemble_decodes_with_the_mean_of_its_models(setting, mean):
    shifted = setting.params._replace(output_bias=setting.params.output_bias[::-1] * 0.5)
    models = (setting.params, shifted)
    ensemble = Ensemble([setting.translator] * 2, mean)
    mesh = data_mesh(BATCH, jax.devices()[:1])
    search = Search(ensemble, setting.vocabularies, mesh, batch_size=BATCH, decoding=Decoding())
    for twin, alone in zip(
        search((setting.params,) * 2, setting.sentences, length_penalty=PENALTY, patience=np.inf),
        setting.find(beam_size=5),
        strict=True,
    ):
        same(twin[0], alone[0])
    if mean == "log_linear":
        return  # the renormalised score is the library's to test

    for sentence, (one,) in zip(
        setting.sentences, search(models, setting.sentences, length_penalty=0.0), strict=True
    ):
        source = padded([*setting.vocabularies.source.encode(sentence), EOS], 24)
        tokens = padded(one.pieces + [EOS] * (one.stop == rx.StopReason.EOS), 58)
        forced = [setting.forced(params, *source, *tokens) for params in models]
        each = [np.exp(alone.token_log_probs) for alone in forced]
        expected = np.log(np.mean(each, 0)).sum()
        np.testing.assert_allclose(one.log_prob, expected, rtol=1e-4)


def test_numbers_compile_nothing_anew(setting):
    search = setting.made(Decoding(patience=np.inf))
    search(setting.params, setting.sentences)
    programs = search._run._cache_size()
    find = functools.partial(search, setting.params, setting.sentences)
    find(length_penalty=0.1, patience=2.0, min_ratio=0.5, seed=3)
    assert search._run._cache_size() == programs == 1
    find(temperature=0.5)
    find(temperature=0.9)
    assert search._run._cache_size() == 2
