"""Searching with a model: scores that can be checked, and nothing that depends on the batch."""

import functools

import jax
import numpy as np
import pytest

import recurrax as rx
from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.translation.batches import evaluation_batches
from experiments.translation.corpus import generate
from experiments.translation.model import ModelConfig, Translator
from experiments.translation.search import Search
from experiments.translation.tokenizer import BOS, EOS, train_vocabularies

PENALTY = 0.8
LONG = 24
MODEL = ModelConfig(
    cell="gru", embedding=8, encoder=6, decoder=8, attention_features=5, attentional=8, tie="all"
)


class Searcher:
    """A model with random params, and sentences."""

    def __init__(self):
        pairs = generate(seed=2, train=40, val=0, test=0)["train"]
        self.vocabularies = train_vocabularies(pairs, 120)
        self.sentences = sorted((p.source for p in pairs), key=len)[:7]
        self.sentences = [self.sentences[i] for i in (3, 0, 6, 1, 5, 2, 4)]
        size = self.vocabularies.source.size
        self.translator = Translator(MODEL, size, size)
        params = jax.jit(self.translator.init)(jax.random.key(0))
        # Sharp and inclined to end: neither uniform noise nor sentences that never stop.
        self.params = params._replace(
            source_embedding=params.source_embedding * 3,
            output_bias=params.output_bias.at[EOS].set(3.0),
        )

    @functools.cache  # noqa: B019 - one object a session
    def search(self, beam_size, batch_size=4, n_best=1, devices=1):
        mesh = data_mesh(batch_size, jax.devices()[:devices])
        return Search(
            self.translator,
            self.vocabularies,
            mesh,
            batch_size=batch_size,
            beam_size=beam_size,
            n_best=n_best,
        )

    @functools.cache  # noqa: B019
    def found(self, beam_size, **options):
        search = self.search(beam_size, **options)
        return search(self.params, self.sentences, length_penalty=PENALTY)

    @functools.cached_property
    def forced(self):
        """(params, source, its length, tokens, their number) -> `rx.score` of these tokens."""

        @jax.jit
        def score(params, source, length, tokens, count):
            memory, state = self.translator.encode(params, source, length)
            step = functools.partial(self.translator.step, params, memory)
            return rx.score(step, state, tokens, count, bos=BOS, length_penalty=PENALTY)

        return score


@pytest.fixture(scope="module")
def searcher():
    return Searcher()


def same(one, other):
    assert one.text == other.text
    assert one.pieces == other.pieces
    assert one.stop == other.stop
    np.testing.assert_allclose(one.score, other.score, rtol=1e-5)
    np.testing.assert_allclose(one.log_prob, other.log_prob, rtol=1e-5)
    np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)


def test_a_beam_of_one_is_greedy(searcher):
    for (greedy,), (beam,) in zip(searcher.found(0), searcher.found(1), strict=True):
        same(greedy, beam)


def test_scores_are_those_of_forced_decoding(searcher):
    found = searcher.found(3, n_best=3)
    stops = set()
    for sentence, hypotheses in zip(searcher.sentences, found, strict=True):
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert len({tuple(h.pieces) for h in hypotheses}) == len(hypotheses) == 3
        pieces = [*searcher.vocabularies.source.encode(sentence), EOS]
        for h in hypotheses:
            stops.add(h.stop)
            tokens = h.pieces + [EOS] * (h.stop == rx.StopReason.EOS)
            rows = (*padded(pieces, LONG), *padded(tokens, 2 * LONG + 10))
            expected = searcher.forced(searcher.params, *rows)
            np.testing.assert_allclose(h.score, expected.score, rtol=1e-5)
            np.testing.assert_allclose(h.log_prob, expected.log_prob, rtol=1e-5)
            attention = expected.attention[: len(tokens), : len(pieces)]
            np.testing.assert_allclose(h.attention, attention, atol=1e-5)
            assert h.text == searcher.vocabularies.target.decode(h.pieces)
    assert rx.StopReason.EOS in stops


def padded(pieces, width):
    assert len(pieces) <= width
    return np.array(pieces + [EOS] * (width - len(pieces)), np.int32), np.int32(len(pieces))


def test_the_batch_and_the_devices_change_nothing(searcher):
    """Other widths, other sentences beside it, rows that fill up, four devices: the same."""
    whole = searcher.found(3, n_best=3)
    sharded = searcher.found(3, n_best=3, batch_size=8, devices=4)
    search = searcher.search(3, n_best=3)
    turned = search(searcher.params, searcher.sentences[:1:-1], length_penalty=PENALTY)[::-1]
    for mine, others in ((whole, sharded), (whole[2:], turned)):
        for hypotheses in zip(mine, others, strict=True):
            for one, two in zip(*hypotheses, strict=True):
                same(one, two)


def test_as_many_programs_as_widths(searcher):
    search = searcher.search(0)
    searcher.found(0)
    batches = evaluation_batches(searcher.sentences, searcher.vocabularies.source, 4)
    widths = {batch.source.shape[1] for batch in batches}
    counted = []
    search(searcher.params, searcher.sentences, length_penalty=0.1, progress=counted.append)
    assert search._run._cache_size() == len(widths) <= 2
    assert counted == [4, 3]
    assert search(searcher.params, []) == []


def test_a_stream_does_not_wait_for_the_last_sentence(searcher):
    search = searcher.search(0)
    counted = []
    stream = search.stream(searcher.params, searcher.sentences, window=1, progress=counted.append)
    first = [next(stream) for _ in range(4)]
    assert counted == [4]
    for one, two in zip(
        [*first, *stream], search(searcher.params, searcher.sentences), strict=True
    ):
        same(one[0], two[0])
    assert counted == [4, 3]
    assert list(search.stream(searcher.params, [])) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beam_size": -1}, "beam size must be at least 1, or 0 for greedy; got -1"),
        ({"beam_size": 3, "n_best": 4}, "from 1 to the beam size 3; got 4"),
        ({"beam_size": 0, "n_best": 2}, "from 1 to the beam size 1; got 2"),
        ({"beam_size": 3, "n_best": 0}, "got 0"),
    ],
)
def test_impossible_searches_are_refused(searcher, options, words):
    with pytest.raises(UserError, match=words):
        searcher.search(**options)


def test_a_penalty_of_nan_and_no_patience_are_refused(searcher):
    search = functools.partial(searcher.search(0), searcher.params, searcher.sentences)
    with pytest.raises(UserError, match="finite number; got nan"):
        search(length_penalty=float("nan"))
    for patience in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=f"patience must be above 0; got {patience}"):
            search(patience=patience)


def test_less_patience_ends_a_search_sooner(searcher):
    search = searcher.search(3, n_best=3)
    find = functools.partial(search, searcher.params, searcher.sentences, length_penalty=PENALTY)
    patient, hasty = find(), find(patience=1 / 3)
    compiled = search._run._cache_size()
    find(patience=2.0)
    assert search._run._cache_size() == compiled
    pairs = [(a[0].score, b[0].score) for a, b in zip(patient, hasty, strict=True)]
    assert all(best >= first - 1e-6 for best, first in pairs)
    ended = [
        sum(one.stop == rx.StopReason.EOS for many in found for one in many)
        for found in (patient, hasty)
    ]
    assert ended[0] > ended[1]
