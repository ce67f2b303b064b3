"""What the options say of single pieces, words and lengths is so in every translation."""

import collections

import numpy as np
import pytest

import recurrax as rx
from experiments.common.errors import UserError
from experiments.translation.constraints import constraints
from experiments.translation.decoding import Decoding
from experiments.translation.tokenizer import EOS
from tests.translation.test_decoding import BATCH, PENALTY, Setting, first
from tests.translation.test_search import padded


@pytest.fixture(scope="module")
def setting():
    return Setting()


def holds(one, phrase):
    return any(one.pieces[i : i + len(phrase)] == phrase for i in range(len(one.pieces)))


def likeliest(setting, found, *, but=()):
    """The word of one piece that is in most of `found`, and its piece."""
    target = setting.vocabularies.target
    counts = collections.Counter(piece for one in found for piece in set(one.pieces))
    words = [(target.decode([piece]), piece) for piece, _ in counts.most_common()]
    return next((w, p) for w, p in words if p not in but and target.encode(w) == [p])


def encoded(setting, *phrases):
    return [setting.vocabularies.target.encode(phrase) for phrase in phrases]


def test_a_prefix_begins_each_and_its_scores_are_of_what_follows(setting):
    (prefix,) = encoded(setting, "the dog")

    for sentence, one in zip(setting.sentences, first(setting.find(prefix="the dog")), strict=True):
        assert one.pieces[: len(prefix)] == prefix
        assert one.text.startswith("the dog")
        source = padded([*setting.vocabularies.source.encode(sentence), EOS], 24)
        tokens = padded(one.pieces + [EOS] * (one.stop == rx.StopReason.EOS), 58)
        each = setting.forced(setting.params, *source, *tokens).token_log_probs
        np.testing.assert_allclose(one.log_prob, each[len(prefix) :].sum(), rtol=1e-4)


def test_what_cannot_be_is_refused_and_never_proven(setting):
    (prefix,) = encoded(setting, "the dog")
    shortest = len(prefix) + 1
    for one in first(setting.find(prefix="the dog", max_pieces=shortest)):
        assert one.pieces == prefix
        assert one.stop == rx.StopReason.EOS
        assert one.proven
    long = "the dog reads a book " * 4
    for one in first(setting.find(prefix=long, max_ratio=0.1)):
        assert one.text.startswith(long.strip())
    for options in (
        {"prefix": "the dog", "max_pieces": shortest - 1},
        {"prefix": "the dog", "forbid": ("dog",)},
        {"require": (long,), "max_pieces": 3},
    ):
        with pytest.raises(UserError, match=r"no translation .*satisfies all of them"):
            setting.find(**options)
    # Two runs of one piece, of which there may be one: nothing is left, and nothing is proven.
    assert setting.find(prefix="the dog the dog", no_repeat=1) == [[]] * BATCH
    for one in first(setting.find(min_ratio=1.0, max_pieces=3)):
        assert one.proven == (one.stop == rx.StopReason.EOS and one.gap == 0)


def test_punctuation_is_found_where_no_blank_is_before_it(setting):
    target = setting.vocabularies.target
    *_, mark = target.encode("the dog sleeps.")
    assert target.labels([mark]) == ["."]
    pieces = {"require": ("the dog",), "min_pieces": 4}
    for one in first(setting.find(**pieces, forbid=(".",))):
        assert mark not in one.pieces
    for one in first(setting.find(require=(".",))):
        assert mark in one.pieces
    vector = constraints(Decoding(bias=(".=3",)), target).bias
    assert vector.nonzero()[0].tolist() == [mark]
    assert constraints(Decoding(repeatable=(".",)), target).repeatable.tolist() == [mark]


def test_forbidden_phrases_are_not_there(setting):
    free = first(setting.find(require=("the dog",)))
    (phrase,) = encoded(setting, "the dog")
    word, piece = likeliest(setting, free, but=phrase)
    bound = first(setting.find(require=("the dog",), forbid=(word,)))
    assert not any(piece in one.pieces for one in bound)
    assert all(holds(one, phrase) for one in bound)


def test_required_phrases_come_in_their_order(setting):
    phrases = ("sleeps", "the dog", "a")
    wanted = encoded(setting, *phrases)
    for one in first(setting.find(require=phrases, in_order=True)):
        place = 0
        for phrase in wanted:
            starts = range(place, len(one.pieces))
            place = next(i for i in starts if one.pieces[i : i + len(phrase)] == phrase)
            place += len(phrase)


def test_only_what_a_file_allows(setting, tmp_path):
    allowed = ["the dog sleeps.", "the cat", "a dog reads a book."]
    file = tmp_path / "allowed.txt"
    file.write_text("\n".join(allowed) + "\n\n")
    found = setting.find(one_of=file, n_best=3, min_ratio=0.0)
    for hypotheses in found:
        assert sorted(one.text for one in hypotheses) == sorted(allowed)
    for one in first(setting.find(one_of=file, forbid=("dog",))):
        assert one.text == "the cat"
    with pytest.raises(UserError, match="no translation satisfies all of them"):
        setting.find(one_of=file, forbid=("dog", "cat"))
    file.write_text("\n")
    with pytest.raises(UserError, match="no sentences"):
        setting.find(one_of=file)


def test_a_bias_makes_a_word_likely_or_forbids_it(setting):
    (pieces,) = encoded(setting, "dog")
    biased = setting.find(bias=("dog=30",), max_pieces=6)
    assert all(set(one.pieces) <= set(pieces) for one in first(biased))
    vector = constraints(Decoding(bias=("dog=2", "dog=-0.5")), setting.vocabularies.target).bias
    expected = np.zeros(setting.vocabularies.target.size)
    expected[pieces] = 1.5
    np.testing.assert_array_equal(vector, expected)
    barred = first(setting.find(bias=("dog=-inf",), min_ratio=1.0))
    assert not any(set(one.pieces) & set(pieces) for one in barred)
    for entry in ("dog", "dog=much", "=1", "dog=nan", "dog=inf", "dog=1e39"):
        with pytest.raises(UserError, match=f"expected WORD=NATS, .* got '{entry}'"):
            setting.find(bias=(entry,))


def test_runs_may_be_repeated_where_a_word_may(setting):
    def repeated(one):
        counts = collections.Counter(one.pieces)
        return {piece for piece, count in counts.items() if count > 1}

    word, allowed = likeliest(setting, first(setting.find(min_ratio=2.0, max_ratio=2.5)))
    options = {"min_ratio": 2.0, "max_ratio": 2.5, "no_repeat": 1}
    assert not any(repeated(one) for one in first(setting.find(**options)))
    exempt = first(setting.find(**options, repeatable=(word,)))
    assert set().union(*map(repeated, exempt)) <= {allowed}
    assert any(repeated(one) for one in exempt)


def test_lengths_in_pieces(setting):
    for one in first(setting.find(min_pieces=20, max_pieces=22)):
        assert 20 <= len(one.pieces) + (one.stop == rx.StopReason.EOS) <= 22
    # A truncation that would leave the end alone, too early.
    for one in first(setting.find(search="greedy", top_k=1, min_pieces=20)):
        assert len(one.pieces) >= 19
    with pytest.raises(UserError, match="min pieces must not be above the max pieces 3; got 4"):
        Decoding(min_pieces=4, max_pieces=3)


@pytest.mark.parametrize(
    "options", [{"repetition_penalty": 1e4}, {"frequency_penalty": 1e4}, {"presence_penalty": 1e4}]
)
def test_what_is_there_already_becomes_unlikely(setting, options):
    lengths = {"min_ratio": 1.0, "max_ratio": 1.0}
    free, bound = first(setting.find(**lengths)), first(setting.find(**lengths, **options))
    assert any(len(set(one.pieces)) < len(one.pieces) for one in free)
    assert all(len(set(one.pieces)) == len(one.pieces) for one in bound)


@pytest.mark.slow
def test_draws_from_the_best_pieces_alone_are_greedy_search(setting):
    greedy = first(setting.find(search="greedy"))
    drawn = first(setting.find(search="sample", min_p=1.0))
    assert [one.pieces for one in drawn] == [one.pieces for one in greedy]
    typical = setting.find(search="sample", typical=1e-6, n_best=4)
    assert all(len({tuple(h.pieces) for h in hypotheses}) == 1 for hypotheses in typical)


@pytest.mark.parametrize("penalty", ["average", "word-reward"])
def test_other_length_penalties(setting, penalty):
    for hypotheses in setting.find(penalty=penalty, n_best=3):
        for one in hypotheses:
            length = len(one.pieces) + (one.stop == rx.StopReason.EOS)
            expected = {
                "average": one.log_prob / length**PENALTY,
                "word-reward": one.log_prob + PENALTY * length,
            }[penalty]
            np.testing.assert_allclose(one.score, expected, rtol=1e-5)
