"""Batches: every pair once an epoch, few shapes, little padding, the same after a restart."""

import json
import random

import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.translation.batches import Batches, evaluation_batches
from experiments.translation.tokenizer import EOS, PAD, UNK, train_vocabularies

B = 16


def sentence(draw: random.Random) -> str:
    return " ".join(
        draw.choices(["Hund", "Katze", "sieht", "und", "Haus"], k=draw.randrange(1, 30))
    )


@pytest.fixture(scope="module")
def pairs():
    draw = random.Random(0)
    sources = [f"{i} {sentence(draw)}" for i in range(601)]
    # As in translation, the two lengths go together.
    return [(text, text.replace("und", "and then").replace("sieht", "sees")) for text in sources]


@pytest.fixture(scope="module")
def vocabularies(pairs):
    return train_vocabularies(pairs, 90)


@pytest.fixture(scope="module", params=[0.0, 0.2])
def batches(request, pairs, vocabularies):
    return Batches(
        pairs, vocabularies, batch_size=B, epochs=3, shapes=6, dropout=request.param, seed=3
    )


def texts(batch, vocabularies):
    """The sentences of a batch, after a look at its form."""
    *fields, soft = batch
    assert all(field.dtype == np.int32 for field in fields)
    assert soft is None
    assert ((batch.pair < 0) == (batch.target_length == 0)).all()
    sides = []
    for ids, lengths, tokenizer in zip(fields[:3:2], fields[1:4:2], vocabularies, strict=True):
        assert ids.shape[0] == lengths.shape[0] == B
        for row, length in zip(ids, lengths, strict=True):
            assert (row[length:] == PAD).all()
            assert not length or (row[length - 1] == EOS and EOS not in row[: length - 1])
        rows = [tokenizer.decode(row[:n]) for row, n in zip(ids, lengths, strict=True) if n]
        sides.append(rows)
    return list(zip(*sides, strict=True))


def test_every_epoch_holds_every_pair_once(batches, pairs, vocabularies):
    assert len(batches) == 3 * batches.per_epoch == 3 * -(-len(pairs) // B)
    orders = []
    for epoch in range(3):
        start = epoch * batches.per_epoch
        rows = [
            t for i in range(batches.per_epoch) for t in texts(batches[start + i], vocabularies)
        ]
        assert sorted(rows) == sorted(pairs)
        orders.append(rows)
    assert orders[0] != orders[1] != orders[2]


def test_few_shapes_and_little_padding(batches):
    shapes = {
        (batch.source.shape[1], batch.target.shape[1])
        for batch in map(batches.__getitem__, range(len(batches)))
    }
    assert len(shapes) <= 6
    assert shapes <= {(int(s), int(t)) for s, t in batches.shapes}
    for epoch in range(3):
        report = batches.report(epoch)
        assert report.pairs == 601
        assert set(report.shapes) <= shapes
        start = epoch * batches.per_epoch
        filled = sum(batches[start + i].target_length.sum() for i in range(batches.per_epoch))
        space = sum(batches[start + i].target.size for i in range(batches.per_epoch))
        assert report.target_padding == pytest.approx(1 - filled / space)
        assert report.target_padding < 0.2  # 38 batches; one of few rows, five between two shapes
        assert report.source_padding < 0.25


def test_resumes_anywhere_with_the_identical_batch(batches, pairs, vocabularies):
    stream = batches.stream()
    expected, states = [], []
    for _ in range(batches.per_epoch + 5):
        states.append(json.dumps(stream.get_state()))
        expected.append(next(stream))
    for position in (0, 1, batches.per_epoch - 1, batches.per_epoch, batches.per_epoch + 2):
        again = Batches(
            pairs,
            vocabularies,
            batch_size=B,
            epochs=9,
            shapes=6,
            dropout=batches._dropout,
            seed=3,
        ).stream()
        again.set_state(json.loads(states[position]))
        for want in expected[position : position + 3]:
            for a, b in zip(next(again), want, strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_stream_ends(pairs, vocabularies):
    batches = Batches(pairs[:40], vocabularies, batch_size=B, epochs=2)
    assert len(list(batches.stream())) == len(batches) == 6
    with pytest.raises(IndexError, match="batch 6 of 6"):
        batches[6]


def test_the_seed_decides(pairs, vocabularies):
    def first(seed):
        return Batches(pairs, vocabularies, batch_size=B, dropout=0.1, seed=seed)[0].source

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


def test_long_pairs_are_counted(pairs, vocabularies):
    long = [("Hund " * 50, "dog"), ("Hund", "dog " * 60)]
    batches = Batches([*pairs, *long], vocabularies, batch_size=B, max_pieces=49)
    report = batches.report()
    assert batches.too_long == report.too_long >= 2
    assert report.pairs + report.too_long == len(pairs) + 2
    assert max(batches.shapes.max(0)) <= 50
    with pytest.raises(UserError, match="none of 2 pairs has at most 49 pieces"):
        Batches(long, vocabularies, batch_size=B, max_pieces=49)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "shapes"])
def test_arguments(name, pairs, vocabularies):
    with pytest.raises(UserError, match=f"{name} must be at least 1; got 0"):
        Batches(pairs, vocabularies, **({"batch_size": B} | {name: 0}))


def test_evaluation_batches_keep_track(pairs, vocabularies):
    sentences = [source for source, _ in pairs[:101]] + ["", "漢字"]
    found, widths = {}, []
    for batch in evaluation_batches(sentences, vocabularies.source, B, shapes=3):
        assert batch.source.shape[0] == B
        widths.append(batch.source.shape[1])
        for row, length, index in zip(*batch, strict=True):
            assert (index < 0) == (length == 0)
            if length:
                assert row[length - 1] == EOS
                found[int(index)] = list(row[: length - 1])
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) <= 3
    assert [found[i] for i in range(103)] == vocabularies.source.encode_all(sentences)
    assert found[101] == []
    assert UNK in found[102]
    assert list(evaluation_batches([], vocabularies.source, B)) == []


def test_evaluation_batches_keep_to_their_window(pairs, vocabularies):
    sentences = [source for source, _ in pairs[:50]]
    whole = list(evaluation_batches(sentences, vocabularies.source, B, shapes=3))
    batches = list(evaluation_batches(sentences, vocabularies.source, B, shapes=3, window=2 * B))
    index = np.concatenate([batch.index[batch.index >= 0] for batch in batches])
    for first in range(0, 50, 2 * B):
        last = min(first + 2 * B, 50)
        assert sorted(index[first:last]) == list(range(first, last))
        lengths = [len(vocabularies.source.encode(sentences[i])) for i in index[first:last]]
        assert lengths == sorted(lengths, reverse=True)
    # The widths, each of which is a program, are those of all sentences.
    widths = [{batch.source.shape[1] for batch in some} for some in (whole, batches)]
    assert widths[1] <= widths[0]
