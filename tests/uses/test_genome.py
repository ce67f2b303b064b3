"""Genome: promoters are what they are called, real files are read, measures are counted."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.genome.data import KINDS, Strand, complement, decode, encode, generate, read
from experiments.uses.genome.use import Genome, draw_places, draw_sequences, scores_of
from experiments.uses.settings import Settings
from tests.support import x64

PAIRS = {"A": "T", "T": "A", "C": "G", "G": "C"}


def test_the_order_of_the_boxes_and_nothing_else_tells_the_kind():
    strands, classes = generate(5, count=300)
    assert generate(5, count=300) == (strands, classes)
    assert classes == KINDS == ("no promoter", "forward", "backward")
    assert len(set(strands)) == 300
    for letters, label in strands:
        other = "".join(PAIRS[letter] for letter in reversed(letters))
        for side, name in ((letters, "forward"), (other, "backward")):
            words = [side[at : at + 6] for at in range(len(side) - 5)]
            assert words.count("TTGACA") == words.count("TATAAT") == 1
            distance = words.index("TATAAT") - words.index("TTGACA")
            assert 15 <= abs(distance) - 6 < 20
            assert (distance > 0) == (classes[label] == name)
    assert np.bincount([label for _, label in strands]).tolist() == [100, 100, 100]
    # No class is longer, or has another share of a letter.
    for measure in (len, *(lambda letters, one=one: letters.count(one) for one in "ACGT")):
        means = [np.mean([measure(s) for s, of in strands if of == label]) for label in range(3)]
        assert np.ptp(means) < 0.08 * np.mean(means)


def test_coding():
    table = encode("ACGTRN")
    np.testing.assert_allclose(table[:4], np.eye(4))
    np.testing.assert_allclose(table[4:], [[0.5, 0, 0.5, 0], [0.25] * 4])
    letters = "ACGTRYSWKMBDHVN"
    np.testing.assert_allclose(encode(letters).sum(1), 1, rtol=1e-6)
    assert encode(letters).dtype == np.float32
    assert decode(encode(letters)) == letters
    assert complement("AACG") == "CGTT"


JUNCTION = "ACGTN" * 12


def arff(rows: list[str]) -> str:
    head = "% a comment\n@relation splice\n@attribute 'Class' { EI, IE, N}\n@DATA\n"
    return head + "".join(f"{row}\n" for row in rows)


def row(letters: str, label: str) -> str:
    return ",".join(["NAME-1", *letters, label])


ROWS = [row(JUNCTION, "N"), "% another", "", row(JUNCTION.lower(), "EI"), row("A" * 60, "IE")]
WANTED = [Strand(JUNCTION, 2), Strand(JUNCTION, 0), Strand("A" * 60, 1)]


def test_reading_splice_junctions(tmp_path):
    (tmp_path / "splice.arff").write_text(arff(ROWS))
    assert read(tmp_path) == (WANTED, ("EI", "IE", "N"))
    packed = tmp_path / "splice.arff.gz"
    packed.write_bytes(gzip.compress(arff(ROWS).encode()))
    assert read(packed) == (WANTED, ("EI", "IE", "N"))
    with pytest.raises(UserError, match="2 examples are too few to be split in three"):
        Genome.load(packed, 0)  # equal sequences count as one


def test_equal_sequences_stay_in_one_split(tmp_path):
    letters = [("ACGT"[i % 4] + "ACGT"[i // 4]) * 30 for i in range(12)]
    rows = [row(one, label) for one in letters for label in ("N", "EI", "IE")]
    (tmp_path / "splice.arff").write_text(arff(rows))
    seen = [{x.tobytes() for x in split.xs} for split in Genome.load(tmp_path, 0)[:3]]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 12


def test_reading_promoters(tmp_path):
    path = tmp_path / "promoters.data"
    path.write_text(f"+,S10,\t\t{'acgt' * 14}a\n\n-, 867,\t{'t' * 57}\n")
    wanted = [Strand("ACGT" * 14 + "A", 1), Strand("T" * 57, 0)]
    assert read(path) == read(tmp_path) == (wanted, ("-", "+"))


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([*ROWS, row(JUNCTION[1:], "N")], r"line 10: 59 nucleotides, expected 60"),
        ([*ROWS, row(JUNCTION, "E")], r"line 10: class 'E' is none of EI, IE, N"),
        ([*ROWS, row("?" + JUNCTION[1:], "N")], r"line 10: '\?' is no nucleotide"),
        ([*ROWS, "NAME"], r"line 10: 0 nucleotides"),
        (ROWS[:3], "no sequence of class EI"),
        ([], "no sequence of class EI"),
    ],
)
def test_broken_junctions(tmp_path, rows, match):
    (tmp_path / "splice.arff").write_text(arff(rows))
    with pytest.raises(UserError, match=match):
        read(tmp_path)


def test_broken_files(tmp_path):
    for nothing in (tmp_path, tmp_path / "nowhere.arff"):
        with pytest.raises(UserError, match=r"holds none of splice\.arff|cannot read .*nowhere"):
            read(nothing)
    path = tmp_path / "splice.arff.gz"
    path.write_bytes(gzip.compress(arff(ROWS).encode())[:-12])
    with pytest.raises(UserError, match=r"cannot read .*splice.arff.gz, perhaps cut short"):
        read(path)
    path.write_bytes(arff(ROWS).encode())
    with pytest.raises(UserError, match=r"cannot read .*Not a gzipped file"):
        read(path)
    plain = tmp_path / "splice.arff"
    plain.write_text(arff([])[:40])
    with pytest.raises(UserError, match="has no @data"):
        read(plain)
    plain.write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match=r"cannot read .*splice\.arff"):
        read(plain)


def test_scores_against_a_loop():
    random = np.random.default_rng(0)
    right, found = random.integers(0, 2, 40), random.integers(0, 3, 40)
    scores = scores_of(right, found, ("a", "b", "c"))
    f1s = []
    for label, name in enumerate("abc"):
        hits = sum(r == f == label for r, f in zip(right, found, strict=True))
        of, as_ = sum(right == label), sum(found == label)
        recall = hits / of if of else 0.0
        precision = hits / as_ if as_ else 0.0
        f1s.append(2 * precision * recall / (precision + recall) if hits else 0.0)
        assert scores[f"recall {name}"] == pytest.approx(recall)
        assert scores[f"f1 {name}"] == pytest.approx(f1s[-1])
    assert scores["accuracy"] == pytest.approx(sum(right == found) / 40)
    assert scores["f1"] == pytest.approx(sum(f1s) / 3)


@pytest.fixture(scope="module")
def use():
    return Genome(Settings(features=3, dropout=0.0), KINDS)


@pytest.fixture(scope="module")
def params(use):
    return use.init(jax.random.key(0))


def test_baseline_is_naive_bayes_from_the_middle(use):
    random = np.random.default_rng(1)
    strands = [
        "".join(random.choice(list("ACGTN"), length)) for length in random.integers(3, 8, 60)
    ]
    labels = [np.int32(label) for label in random.integers(0, 3, 60)]
    train = Examples([encode(s) for s in strands[:40]], labels[:40])
    test = Examples([encode(s) for s in strands[40:]], labels[40:])
    hits = 0
    for letters, label in zip(strands[40:], labels[40:], strict=True):
        score = []
        for c in range(3):
            total = np.log(sum(one == c for one in labels[:40]))
            for at, letter in enumerate(letters):
                place = at - len(letters) // 2
                counts = np.ones(4)
                for other, of in zip(strands[:40], labels[:40], strict=True):
                    there = place + len(other) // 2
                    if of == c and 0 <= there < len(other):
                        counts += encode(other[there])[0]
                total += encode(letter)[0] @ np.log(counts / counts.sum())
            score.append(total)
        hits += np.argmax(score) == label
    found = use.baseline(Data(train, test, test, KINDS))
    assert found["accuracy"] == pytest.approx(hits / 20)


def test_slopes_are_differences_of_the_right_class_over_the_mean(use, params):
    x = encode("GATTACA")
    batch = Example(jnp.asarray(x), np.int32(5), np.int32(1), np.int32(1))

    with x64():
        wide, example = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float64), (params, x))

        @jax.jit
        def both(params, x):
            example = batch._replace(x=x)
            scores = use._scores(params, example)
            return scores[1] - scores.mean(), use._slope(params, example)

        slopes = np.asarray(both(wide, example)[1])
        assert not slopes[5:].any()  # what lies past the length
        for place, letter in ((0, 1), (2, 3), (4, 0)):
            changed = [
                both(wide, example.at[place].add(sign * 1e-6 * (np.eye(4)[letter] - 0.25)))[0]
                for sign in (1, -1)
            ]
            slope = (changed[0] - changed[1]) / 2e-6
            assert slopes[place, letter] == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


def test_pictures(tmp_path):
    random = np.random.default_rng(0)
    draw_places([random.normal(size=(12, 4)) for _ in KINDS], KINDS, tmp_path / "places.png")
    weights = [random.normal(size=5), random.normal(size=3)]
    draw_sequences(["ACGTN", "ACG"], weights, ["EI", "N"], tmp_path / "sequences.png")
    for name in ("places", "sequences"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
