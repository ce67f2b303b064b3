"""Pieces: the way there and back, dropout that a seed repeats, and sizes that cannot be."""

import pickle
import random

import pytest

from experiments.common.errors import UserError
from experiments.translation.tokenizer import (
    BOS,
    EOS,
    PAD,
    UNK,
    Tokenizer,
    train_tokenizer,
    train_vocabularies,
)

TEXTS = [
    f"Der {a} Hund sieht {b} Häuser, {c}!" for a in ("alte", "große") for b in "ab" for c in "xyz"
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 60)


def test_round_trip(tokenizer):
    assert tokenizer.size == 60
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("") == tokenizer.encode(" \n") == []
    assert tokenizer.decode(tokenizer.encode(" Der\t Hund\u2028!\n")) == "Der Hund !"
    assert tokenizer.encode_all(TEXTS) == [tokenizer.encode(text) for text in TEXTS]


def test_special_pieces(tokenizer):
    assert tokenizer.labels([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]
    pieces = tokenizer.encode("Der Hund")
    assert not {PAD, UNK, BOS, EOS} & set(pieces)
    assert tokenizer.decode([BOS, *pieces, EOS, PAD, PAD]) == "Der Hund"
    assert "".join(tokenizer.labels(pieces)) == "▁Der▁Hund"
    assert UNK in tokenizer.encode("Zoë")
    # Text that looks like a special piece is text.
    assert not {BOS, EOS} & set(tokenizer.encode("<s> Hund </s>"))


def test_byte_fallback_loses_nothing():
    tokenizer = train_tokenizer(TEXTS, 330, byte_fallback=True)
    draw = random.Random(0)
    for _ in range(300):
        codes = [draw.choice([draw.randrange(1, 0x250), draw.randrange(0x3000, 0xD000)])]
        text = "".join(map(chr, codes * draw.randrange(1, 4))) + chr(
            draw.randrange(0x1F300, 0x1F700)
        )
        assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())
        assert UNK not in tokenizer.encode(text)


def test_dropout_is_repeated_by_its_seed(tokenizer):
    first = tokenizer.encode_all(TEXTS, dropout=0.3, seed=5)
    tokenizer.encode_all(TEXTS[:3], dropout=0.5, seed=6)  # moves the generator on
    assert tokenizer.encode_all(TEXTS, dropout=0.3, seed=5) == first
    assert tokenizer.encode_all(TEXTS, dropout=0.3, seed=6) != first
    assert Tokenizer(tokenizer.model).encode_all(TEXTS, dropout=0.3, seed=5) == first
    last = 2**32 - 1  # sentencepiece's word for "from the clock"
    assert tokenizer.encode_all(TEXTS, dropout=0.3, seed=last) == tokenizer.encode_all(
        TEXTS, dropout=0.3, seed=last
    )
    assert [tokenizer.decode(pieces) for pieces in first] == TEXTS
    assert sum(map(len, first)) > sum(map(len, tokenizer.encode_all(TEXTS)))
    for dropout in (-0.1, 1.0):
        with pytest.raises(UserError, match=r"dropout must be in \[0, 1\)"):
            tokenizer.encode_all(TEXTS, dropout=dropout)


def test_the_model_is_all_there_is(tokenizer):
    assert train_tokenizer(TEXTS, 60) == tokenizer
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy == tokenizer
    assert copy.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_joint_and_separate_vocabularies():
    pairs = [(text, text.lower().replace("ä", "q")) for text in TEXTS]
    joint = train_vocabularies(pairs, 60)
    assert joint.source is joint.target
    source, target = train_vocabularies(pairs, 50, joint=False)
    assert source != target
    assert UNK in target.encode("Ä")
    assert UNK not in joint.target.encode(TEXTS[0])


def test_errors(tokenizer):
    with pytest.raises(
        UserError, match=r"vocabulary of 9999 pieces is more .* ask for at most \d+"
    ):
        train_tokenizer(TEXTS, 9999)
    with pytest.raises(UserError, match=r"vocabulary of 9 pieces has no room .* at least \d+"):
        train_tokenizer(TEXTS, 9)
    with pytest.raises(UserError, match="vocabulary of -1 pieces"):
        train_tokenizer(TEXTS, -1)
    for texts in ([], ["", " "]):
        with pytest.raises(UserError, match="needs sentences"):
            train_tokenizer(texts, 60)
    with pytest.raises(UserError, match="needs sentences"):
        train_vocabularies([], 60)
    for model in (b"", tokenizer.model[:100]):
        with pytest.raises(UserError, match="not a sentencepiece model"):
            Tokenizer(model).encode("a")
