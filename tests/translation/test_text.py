"""Parallel text: what is read, what is refused, and that the message says where."""

import gzip
import zipfile
from pathlib import Path

import pytest

from experiments.common.errors import UserError
from experiments.translation.text import Pair, read_parallel, read_split, read_table, splits

DE, EN = "ein Haus\nzwei Häuser\n", "a house\ntwo houses\n"


def folder(path: Path, **files: str | bytes) -> Path:
    """`train_de="..."` becomes the file train.de; val and train are there in any case."""
    defaults = {"train_de": DE, "train_en": EN, "val_de": DE, "val_en": EN}
    for name, content in (defaults | files).items():
        content = content.encode() if isinstance(content, str) else content
        (path / name.replace("_", ".")).write_bytes(content)
    return path


def test_reads_every_split_plain_and_gz(tmp_path):
    folder(tmp_path, test2_de=DE, test2_en=EN, test1_de_gz=gzip.compress(DE.encode()))
    (tmp_path / "test1.en").write_text(EN)
    (tmp_path / "train.fr").write_text("une maison\ndeux maisons\n")
    (tmp_path / "other.de").write_text("no split of ours")
    result = read_parallel(tmp_path, "de", "en")
    assert list(result) == ["train", "val", "test1", "test2"]
    pairs = [Pair("ein Haus", "a house"), Pair("zwei Häuser", "two houses")]
    assert all(split == (pairs, 0) for split in result.values())
    assert read_parallel(tmp_path, "en", "de")["val"].pairs[0] == Pair("a house", "ein Haus")
    assert read_split(tmp_path, "train", "de", "fr").pairs[1].target == "deux maisons"


def test_lines_end_with_newlines_only_and_text_stays_as_it_is(tmp_path):
    odd = "a\u2028b\x0bc\x85d \u00e9 e\u0301"
    folder(tmp_path, val_de="\ufeff" + odd + "\r\nb", val_en="x\ny\r\n")
    assert read_split(tmp_path, "val", "de", "en").pairs == [(odd, "x"), ("b", "y")]


def test_empty_lines_are_counted_in_train_and_refused_elsewhere(tmp_path):
    files = {f"{s}_{x}": t for s in ("train", "val") for x, t in (("de", "a\n \nc\n"), ("en", EN))}
    folder(tmp_path, **(files | {"train_en": "x\ny\n\n", "val_en": "x\ny\nz\n"}))
    assert read_split(tmp_path, "train", "de", "en") == ([("a", "x")], 2)
    with pytest.raises(UserError, match=r"val\.de, line 2: empty"):
        read_split(tmp_path, "val", "de", "en")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val_en": "a\n"}, r"val\.de has 2 lines and .*val\.en has 1"),
        ({"val_de": b"gut\nschl\xfccht\n"}, r"val\.de, line 2: not valid UTF-8"),
        ({"val_de": b"\xef\xbb\xbf\n\xfc\n"}, r"val\.de, line 2: not valid UTF-8"),
        ({"val_de": "", "val_en": ""}, r"val\.de: no sentences"),
        ({"train_de": "\n\na\n", "train_en": "b\n\n\n"}, "every pair has an empty side"),
        ({"val_de_gz": b""}, r"val\.de and val\.de\.gz both exist"),
        ({"test_de": "a\n"}, r"test\.en is missing"),
        ({"test_de_gz": gzip.compress(b"a" * 999)[:-9], "test_en": "a"}, "damaged or cut short"),
        ({"test_de_gz": b"no gzip", "test_en": "a"}, "damaged or cut short"),
        ({"test_de_gz": gzip.compress(b"a")[:-8] + b"\0" * 8, "test_en": "a"}, "damaged"),
    ],
)
def test_bad_folders(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_parallel(folder(tmp_path, **files))


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"holds no train\.de and train\.en .*its files: none"):
        splits(tmp_path, "de", "en")
    with pytest.raises(UserError, match="is not a folder"):
        splits(tmp_path / "no", "de", "en")
    with pytest.raises(UserError, match=r"no\.tsv: No such file"):
        read_parallel(tmp_path / "no.tsv")
    (folder(tmp_path) / "val.de").unlink()
    with pytest.raises(UserError, match=r"val\.de is missing, and so is val\.de\.gz"):
        read_parallel(tmp_path)
    (tmp_path / "test.de").mkdir()
    (tmp_path / "test.en").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*directory"):
        read_split(tmp_path, "test", "de", "en")


def rows(count: int) -> list[tuple[str, str]]:
    """Every source has two targets, and every third target two sources."""
    pairs = [(f"s{i // 2}", f"t{i}") for i in range(count)]
    return pairs + [(f"s{i + 1}", f"t{2 * i}") for i in range(0, count // 2 - 1, 3)]


def test_a_table_is_split_without_a_shared_sentence(tmp_path):
    text = "".join(f"{a}\t{b}\tCC-BY\n" for a, b in rows(400))
    (tmp_path / "pairs.tsv").write_text(text)
    result = read_table(tmp_path / "pairs.tsv", val=40, test=30, seed=1)
    assert list(result) == ["train", "val", "test"]
    assert sorted(p for split in result.values() for p in split.pairs) == sorted(rows(400))
    assert len(result["val"].pairs) <= 40
    assert 25 < len(result["test"].pairs) <= 30
    for side in (0, 1):
        parts = [{pair[side] for pair in split.pairs} for split in result.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert result == read_table(tmp_path / "pairs.tsv", val=40, test=30, seed=1)
    assert result != read_table(tmp_path / "pairs.tsv", val=40, test=30, seed=2)

    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("pairs.txt", text)
        archive.writestr("_about.txt", "licence")
    for name in ("pairs.tsv.gz", "p.zip", "p.zip/pairs.txt"):
        assert read_parallel(tmp_path / name, val=40, test=30, seed=1) == result
    swapped = read_table(tmp_path / "p.zip", columns=(1, 0), val=9, test=9)
    assert swapped["train"].pairs[0].source.startswith("t")


def test_a_family_larger_than_a_split_goes_to_train(tmp_path):
    (tmp_path / "p.tsv").write_text("".join(f"same\tt{i}\n" for i in range(50)) + "a\tb\n")
    result = read_table(tmp_path / "p.tsv", val=10, test=0)
    assert [len(split.pairs) for split in result.values()] == [50, 1, 0]


def test_bad_tables(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("a\tb\nc\n")
    with pytest.raises(UserError, match=r"p\.tsv, line 2: expected 2 or more columns .* got 1"):
        read_table(path)
    path.write_text("a\tb\n\t \nc\td\n")
    assert read_table(path, val=1, test=0)["train"].dropped == 1
    with pytest.raises(UserError, match="2 pairs leave none to train on"):
        read_table(path, val=1, test=1)
    path.write_text("".join(f"s{i}\tt{i}\tpublic domain\n" for i in range(20)))
    assert len(read_table(path, val=9, test=9)["train"].pairs) == 2
    with pytest.raises(UserError, match=r"none is left|no pair is left to validate on: .*\(0, 2\)"):
        read_table(path, val=9, test=9, columns=(0, 2))
    for columns in ((0, 0), (-1, 0)):
        with pytest.raises(UserError, match="columns must be two different numbers"):
            read_table(path, columns=columns)
    path = tmp_path / "p.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(UserError, match=r"p\.zip: damaged"):
        read_table(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a\tb")
        archive.writestr("b.txt", "a\tb")
    with pytest.raises(UserError, match=r"expected one file of pairs in it; it holds a\.txt, b\.t"):
        read_table(path)
    with pytest.raises(UserError, match=r"expected c\.txt in it"):
        read_table(path / "c.txt")
