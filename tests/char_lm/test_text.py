"""The streams read every letter, in order, for ever; bad files are one sentence."""

import gzip

import numpy as np
import pytest

from experiments.char_lm.text import Streams, decode, encode, load_corpus, make_text
from experiments.common.errors import UserError


@pytest.mark.parametrize(("length", "streams", "chunk"), [(100, 3, 7), (64, 4, 16), (50, 1, 50)])
def test_each_stream_reads_on_where_it_stopped_round_and_round(length, streams, chunk):
    text = np.random.default_rng(0).integers(0, 9, length)
    read = Streams(text, streams, chunk)
    steps = 3 * length // chunk
    for stream in range(streams):
        begin = stream * length // streams
        expected = [text[(begin + at) % length] for at in range(steps * chunk + 1)]
        for step in range(steps):
            window = expected[step * chunk : (step + 1) * chunk + 1]
            np.testing.assert_array_equal(read[step][stream], window)
    assert read.per_epoch == length // (streams * chunk)
    since = read.since(5)
    for step in (5, 6, 7):
        np.testing.assert_array_equal(next(since), read[step])


def test_a_text_shorter_than_an_update_is_refused():
    with pytest.raises(UserError, match="has 20 letters, fewer than the 21 of one update"):
        Streams(np.zeros(20, np.int32), 3, 7)


def test_plain_and_gzipped_files_are_split_nine_to_one(tmp_path):
    text = "Zwölf Boxkämpfer\r\njagen Viktor quer über den Sylter Deich.\n" * 2
    plain, packed = tmp_path / "text.txt", tmp_path / "text.gz"
    plain.write_bytes("\ufeff".encode() + text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        corpus = load_corpus(path, "hello")
        letters = np.concatenate([corpus.train, corpus.held_out])
        assert decode(letters, corpus.alphabet) == text
        assert len(corpus.train) == len(text) * 9 // 10
        assert corpus.alphabet == "".join(sorted(set(text)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", None, "cannot read"),
        ("a.txt", b"x" * 19, "holds 19 letters; there must be at least 20"),
        ("a.txt", b"\xff" * 30, "not valid UTF-8"),
        ("a.gz", b"no gzip" * 9, "not a readable gzip file"),
        ("a.gz", gzip.compress(b"many letters" * 99, mtime=0)[:30], "not a readable gzip file"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_corpus(tmp_path / name, "hello")


def test_made_texts_are_the_same_every_time():
    assert set(make_text("hello")) == set("helo")
    text = make_text("sentences")
    assert text == make_text("sentences")
    assert text.count("\n") == len(set(text.splitlines())) > 10_000


def test_an_unknown_letter_is_named():
    with pytest.raises(UserError, match=r"knows no 'z'; its alphabet is 'abc'"):
        encode("abz", "abc")
