"""Sentiment: the generated sentences mean what they say, and the real ones are read."""

import zipfile

import pytest

from experiments.common.errors import UserError
from experiments.uses.sentiment.data import _BAD, _GOOD, Review, generate, read


def test_the_last_opinion_counts():
    reviews = generate(5, count=300)
    assert reviews == generate(5, count=300)
    assert len({review.words for review in reviews}) == 300
    for words, label in reviews:
        at = max(i for i, word in enumerate(words) if word in _GOOD + _BAD)
        begin = max(i for i, word in enumerate(words[:at]) if word == "is")
        negated = "not" in words[begin:at]
        assert label == ((words[at] in _GOOD) != negated)
    assert 0.4 < sum(label for _, label in reviews) / 300 < 0.6
    # Either word of praise is as often in one kind of sentence as in the other.
    praise = [label for words, label in reviews if set(words) & set(_GOOD)]
    assert 0.35 < sum(praise) / len(praise) < 0.65


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rt-polarity.neg").write_bytes("a dull film .\n\nna\xefve \n".encode("latin-1"))
    (tmp_path / "rt-polarity.pos").write_bytes(b"a fine film .\n")
    return tmp_path


def test_reading(folder):
    wanted = [
        Review(("a", "dull", "film", "."), 0),
        Review(("naïve",), 0),
        Review(("a", "fine", "film", "."), 1),
    ]
    assert read(folder) == wanted
    archive = folder / "sentence_polarity.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("rt-polarity.neg", "rt-polarity.pos"):
            packed.write(folder / name, f"sentence_polarity/{name}")
    assert read(archive) == wanted
    (folder / "rt-polarity.neg").unlink()
    assert read(folder) == wanted  # the archive that lies in it


def test_broken_files(folder, tmp_path):
    (folder / "rt-polarity.pos").unlink()
    with pytest.raises(UserError, match=r"cannot read rt-polarity\.pos of .*: "):
        read(folder)
    archive = tmp_path / "half.zip"
    archive.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"cannot read rt-polarity\.neg of .*half\.zip"):
        read(archive)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("readme", "")
    with pytest.raises(UserError, match=r"half\.zip holds no rt-polarity\.neg"):
        read(archive)
    with pytest.raises(UserError, match="nowhere"):
        read(tmp_path / "nowhere")
