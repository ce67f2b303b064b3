"""Parallel text: pairs of sentences from files, and what was wrong with the files.

Two forms are read, each plain, gzipped, or (the second) inside a zip archive:

    a folder        train.de  train.en  val.de  val.en  test*.de  test*.en    one sentence a line
    a single file   source<TAB>target[<TAB>...]                               one pair a line

UTF-8; a line ends with "\\n" or "\\r\\n" and with nothing else (U+2028 and its like stay inside a
sentence); a byte order mark at the start of a file is not text. Sentences are otherwise kept as
they are, without Unicode normalisation, for references must be scored as they were written.

Empty lines: in a training split the pair is left out and counted in `Split.dropped`; in any other
split they are an error, for a score over other sentences than everybody else's is no score.
"""

from __future__ import annotations

import codecs
import gzip
import random
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UserError


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Split(NamedTuple):
    """The pairs of one split, and how many were left out because one of their sides is empty."""

    pairs: list[Pair]
    dropped: int = 0


def read_parallel(
    path: str | Path,
    source: str = "de",
    target: str = "en",
    *,
    columns: tuple[int, int] = (0, 1),
    val: int = 1000,
    test: int = 1000,
    seed: int = 0,
) -> dict[str, Split]:
    """All splits of a folder (`source`, `target`: file endings) or of a tab-separated file.

    Returns:
      `train`, `val` and every split whose name starts with `test`, in that order.

    Raises:
      UserError: a file is missing, empty, damaged, no UTF-8 or of another form; it names the line.
    """
    path = Path(path)
    if path.is_dir():
        return {s: read_split(path, s, source, target) for s in splits(path, source, target)}
    return read_table(path, columns=columns, val=val, test=test, seed=seed)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, plain or gzipped.

    Raises:
      UserError: it is missing, empty, damaged or not UTF-8.
    """
    return _lines(Path(path), _read(Path(path)))


def splits(directory: str | Path, source: str, target: str) -> list[str]:
    """`train`, `val` and every `test*` of which `directory` holds the source or the target.

    Raises:
      UserError: there is no such folder, or it lacks `train` or `val`.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder.")
    endings = {f".{language}{gz}" for language in (source, target) for gz in ("", ".gz")}
    names = {
        file.name.removesuffix(ending)
        for file in directory.iterdir()
        for ending in endings
        if file.name.endswith(ending)
    }
    for needed in ("train", "val"):
        if needed not in names:
            raise UserError(
                f"{directory} holds no {needed}.{source} and {needed}.{target} (nor .gz); "
                f"its files: {', '.join(sorted(f.name for f in directory.iterdir())) or 'none'}."
            )
    return ["train", "val", *sorted(name for name in names if name.startswith("test"))]


def read_split(directory: str | Path, split: str, source: str, target: str) -> Split:
    """The sentences of `split`.`source` beside those of `split`.`target` in `directory`.

    Raises:
      UserError: as `read_parallel` does, and where the two files have unequal numbers of lines.
    """
    files = [_find(Path(directory), f"{split}.{language}") for language in (source, target)]
    sides = [_lines(file, _read(file)) for file in files]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{files[0]} has {len(sides[0])} lines and {files[1]} has {len(sides[1])}; "
            f"line N of both must be the same sentence."
        )
    kept = [Pair(*pair) for pair in zip(*sides, strict=True)]
    kept = [pair for pair in kept if pair.source.strip() and pair.target.strip()]
    if len(kept) < len(sides[0]) and split != "train":
        for file, lines in zip(files, sides, strict=True):
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    raise UserError(
                        f"{file}, line {number}: empty; only train may have such lines."
                    )
    if not kept:
        raise UserError(f"{files[0]} and {files[1]}: every pair has an empty side.")
    return Split(kept, len(sides[0]) - len(kept))


def read_table(
    path: str | Path,
    *,
    columns: tuple[int, int] = (0, 1),
    val: int = 1000,
    test: int = 1000,
    seed: int = 0,
) -> dict[str, Split]:
    """Pairs from a tab-separated file: plain, .gz, or .zip with one member that is not `_*`.

    `archive.zip/member.txt` names a member. Pairs that share a sentence, on either side and over
    any number of steps, go to the same split: no sentence of `val` or `test` occurs in `train`.
    Which ones go where depends on the file and on `seed` alone.

    Args:
      columns: of the source and of the target, from 0.
      val, test: how many pairs these splits get, at the most.

    Raises:
      UserError: as `read_parallel` does; a line without these columns; or nothing left to train on,
        or to validate on.
    """
    path = Path(path)
    if min(columns) < 0 or columns[0] == columns[1]:
        raise UserError(f"columns must be two different numbers from 0; got {columns}.")
    pairs, dropped = [], 0
    for number, line in enumerate(_lines(path, _read(path)), 1):
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise UserError(
                f"{path}, line {number}: expected {max(columns) + 1} or more columns with tabs "
                f"between them; got {len(fields)}."
            )
        pair = Pair(*(fields[column] for column in columns))
        if pair.source.strip() and pair.target.strip():
            pairs.append(pair)
        else:
            dropped += 1
    train, held_out = _divide(pairs, {"val": val, "test": test}, seed)
    if not train:
        raise UserError(
            f"{path}: {len(pairs)} pairs leave none to train on beside {val} in val and {test} in "
            f"test."
        )
    if val and not held_out["val"]:
        raise UserError(
            f"{path}: no pair is left to validate on: too many share a sentence with others, on "
            f"either side; are {columns} the right columns?"
        )
    return {"train": Split(train, dropped), **{k: Split(v) for k, v in held_out.items()}}


def _divide(
    pairs: Sequence[Pair], sizes: dict[str, int], seed: int
) -> tuple[list[Pair], dict[str, list[Pair]]]:
    """The pairs that stay, and those held out, so that no two parts share a sentence."""
    parent: dict[tuple[str, int], tuple[str, int]] = {}

    def root(node: tuple[str, int]) -> tuple[str, int]:  # union-find, halving the path
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for pair in pairs:
        parent[root((pair.source, 0))] = root((pair.target, 1))
    families: dict[tuple[str, int], list[Pair]] = {}
    for pair in pairs:
        families.setdefault(root((pair.source, 0)), []).append(pair)
    order = list(families.values())
    random.Random(seed).shuffle(order)
    held_out: dict[str, list[Pair]] = {name: [] for name in sizes}
    train: list[Pair] = []
    for family in order:
        # A family too large for what is left of a split (the largest may be half of all) passes on.
        fits = (name for name, part in held_out.items() if len(part) + len(family) <= sizes[name])
        held_out.get(next(fits, ""), train).extend(family)
    return train, held_out


def _find(directory: Path, name: str) -> Path:
    found = [path for path in (directory / name, directory / f"{name}.gz") if path.exists()]
    if not found:
        raise UserError(f"{directory / name} is missing, and so is {name}.gz.")
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1].name} both exist; remove the one not meant.")
    return found[0]


def _read(path: Path) -> bytes:
    """The bytes of a file, decompressed as its name says."""
    member = None
    if path.parent.suffix == ".zip" and path.parent.is_file():
        path, member = path.parent, path.name
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.read(_member(path, archive, member))
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except OSError as error:
        # Damaged gzip data is an OSError too, one without a number.
        reason = error.strerror or f"damaged or cut short: {error}"
        raise UserError(f"cannot read {path}: {reason}.") from error
    except (EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"cannot read {path}: damaged or cut short: {error}.") from error


def _member(path: Path, archive: zipfile.ZipFile, wanted: str | None) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    candidates = [n for n in names if (n == wanted if wanted else not n.startswith("_"))]
    if len(candidates) != 1:
        raise UserError(
            f"{path}: expected {wanted or 'one file of pairs'} in it; it holds "
            f"{', '.join(names) or 'nothing'}; {path}/NAME picks one."
        )
    return candidates[0]


def _lines(path: Path, content: bytes) -> list[str]:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {number}: not valid UTF-8 ({error.reason}).") from error
    if not text.strip():
        raise UserError(f"{path}: no sentences in it.")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
