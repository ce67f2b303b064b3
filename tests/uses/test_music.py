"""Music: what the generator keeps, the reader, the measures, and MIDI files read back."""

import gzip
import itertools
import json
import math
from pathlib import Path

import jax
import mido
import numpy as np
import pytest

import recurrax as rx
from experiments.common.errors import UserError
from experiments.uses.contract import Example
from experiments.uses.music import data as source
from experiments.uses.music.midi import draw_rolls, write_midi
from experiments.uses.music.use import CONTINUATION, Music, measures
from experiments.uses.settings import Settings

SCALES = [
    {(tonic + step) % 12 for step in steps}
    for tonic in (0, 5, 7)
    for steps in ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11))
]


VOICINGS = np.array(list(itertools.combinations(range(60, 80), 3)))


def is_triad(step: list[int]) -> bool:
    """A bass, and above it three notes that are its chord: no passing note."""
    above = {(note - step[0]) % 12 for note in step[1:]}
    return len(step) == 4 and above in ({0, 4, 7}, {0, 3, 7}, {0, 3, 6})


def chords(roll: np.ndarray) -> list[list[int]]:
    return [[int(key) + 21 for key in np.flatnonzero(step)] for step in roll]


def test_generated_pieces_follow_the_grammar():
    pieces = source.generate(3, 30)
    again = source.generate(3, 30)
    assert all(np.array_equal(a, b) for a, b in zip(pieces, again, strict=True))
    assert not np.array_equal(pieces[0], source.generate(4, 1)[0])
    for roll in pieces:
        assert roll.dtype == np.uint8
        assert 18 <= len(roll) <= 48
        assert len(roll) % 3 == 0
        phrase = len(roll) // 3
        first, middle, last = np.split(roll, 3)
        np.testing.assert_array_equal(first, last)  # A returns
        assert not np.array_equal(first, middle)
        steps = chords(roll)
        assert any({n % 12 for step in steps for n in step} <= scale for scale in SCALES)
        tonic = steps[-1][0] % 12
        third = {note % 12 for note in steps[-1]} - {tonic, (tonic + 7) % 12}
        assert third <= {(tonic + 3) % 12, (tonic + 4) % 12}  # A ends on the tonic,
        assert len(third) == 1
        changes = [t for t in range(1, phrase) if steps[t][0] != steps[t - 1][0]]
        assert steps[changes[-1] - 1][0] % 12 == (tonic + 7) % 12  # after the dominant;
        assert steps[2 * phrase - 1][0] % 12 == (tonic + 7) % 12  # B ends there
        assert all(3 <= len(step) <= 4 for step in steps)
        for before, after in itertools.pairwise(steps[: 2 * phrase]):
            if before != after and is_triad(before) and is_triad(after):
                wanted = {note % 12 for note in after}
                fit = [set(notes) == wanted for notes in (VOICINGS % 12).tolist()]
                motions = abs(VOICINGS - before[1:]).sum(1)
                assert abs(np.subtract(after, before))[1:].sum() == motions[fit].min()


def test_whoever_remembers_need_not_guess():
    """The same two chords are followed by different ones within A and in other pieces."""
    followers = {}
    for roll in source.generate(0, 100):
        for a, b, c in zip(*(map(bytes, roll[i:]) for i in range(3)), strict=False):
            followers.setdefault((a, b), set()).add(c)
    assert np.mean([len(found) > 1 for found in followers.values()]) > 0.2


SPLITS = {"train": [[[60, 64], [62]], [[21]]], "valid": [[[108, -1], []]], "test": [[[60]]]}


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_rolls(tmp_path: Path, zipped: bool):
    content = json.dumps(SPLITS).encode()
    name = "jsb-chorales-quarter.json" + zipped * ".gz"
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    for path in (tmp_path, tmp_path / name):
        train, valid, test = source.read(path)
        assert [chords(roll) for roll in train] == SPLITS["train"]
        assert [chords(roll) for roll in valid] == [[[108], []]]
        assert test[0].shape == (1, 88)
        assert test[0].sum() == test[0][0, 39] == 1
    data = Music.load(tmp_path, 0)
    assert data.train.xs[0].tolist() == [[0] * 88, data.train.ys[0][0].tolist()]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "holds no"),
        (gzip.compress(json.dumps(SPLITS).encode(), mtime=0)[:-9], "cut short"),
        (json.dumps(SPLITS)[:-5].encode(), "cut short"),
        (b"[]", "splits"),
        (json.dumps({**SPLITS, "train": [[[-1], []]]}).encode(), "no note"),
        (json.dumps({**SPLITS, "test": []}).encode(), "test must be a list of pieces"),
        (json.dumps({**SPLITS, "test": [[]]}).encode(), "test, piece 0"),
        (json.dumps({**SPLITS, "valid": [[[60], 61]]}).encode(), "valid, piece 0, step 1"),
        (json.dumps({**SPLITS, "train": [[[109]]]}).encode(), "MIDI numbers"),
        (json.dumps({**SPLITS, "train": [[[60.0]]]}).encode(), "MIDI numbers"),
        (json.dumps({**SPLITS, "train": [[[math.nan]]]}).encode(), "MIDI numbers"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, content: bytes | None, told: str):
    if content is not None:
        (tmp_path / "jsb-chorales-quarter.json").write_bytes(content)
    with pytest.raises(UserError, match=told):
        source.read(tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        source.read(tmp_path / "missing.json")


def test_measures_against_a_loop():
    random = np.random.default_rng(0)
    logits, roll = random.normal(size=(7, 88)), random.integers(0, 2, (7, 88))
    nats = tp = fp = fn = hits = wrong = missed = 0.0
    for t, k in np.ndindex(7, 88):
        p, v = 1 / (1 + math.exp(-logits[t, k])), roll[t, k]
        nats -= math.log(p if v else 1 - p)
        tp, fp, fn = tp + p * v, fp + p * (1 - v), fn + (1 - p) * v
        hits, wrong, missed = (
            hits + (p > 0.5) * v,
            wrong + (p > 0.5) * (1 - v),
            missed + (p <= 0.5) * v,
        )
    found = measures(logits, roll)
    assert found["nats"] == pytest.approx(nats / 7, rel=1e-12)
    assert found["accuracy"] == pytest.approx(tp / (tp + fp + fn), rel=1e-12)
    assert found["f1"] == pytest.approx(2 * hits / (2 * hits + wrong + missed), rel=1e-12)


@pytest.fixture(scope="module")
def made():
    use = Music(Settings(features=4, dropout=0.0))
    return use, use.init(jax.random.key(0))


def test_loss_is_of_the_next_chord(made):
    """Against the network step by step, and the Bernoullis in NumPy."""
    use, params = made
    roll = source.generate(0, 1)[0][:6]
    x = np.concatenate([0 * roll[:1], roll[:-1]])
    loss, terms = use.loss(params, Example(x, np.int32(6), roll, np.int32(6)))
    cell, dense = params.network[1::2]
    state = rx.lstm(4).initial_state(cell)
    total = 0.0
    for heard, now in zip(x, roll, strict=True):
        state, h = rx.lstm(4).step(cell, state, np.float32(heard))
        p = 1 / (1 + np.exp(-(np.asarray(h) @ np.asarray(dense.w) + np.asarray(dense.b))))
        total -= sum(math.log(p[k] if now[k] else 1 - p[k]) for k in range(88))
    assert terms == 6
    assert loss == pytest.approx(total, rel=1e-5)


def test_generates_from_its_own_chords(made):
    """With logits that only say "the key above each that sounds", chords climb by a key a step."""
    use, params = made
    step = rx.Cell(
        lambda key, x: (),
        lambda params: (),
        lambda params, state, x: (state, 200.0 * np.eye(88, k=1).T @ x - 100.0),
    )
    use = Music(use.settings)
    use._step = step
    opening = source.roll([[30, 40], [31, 41], [25, 45]])
    found = np.asarray(use.generate(type(params)([(), ()]), opening, jax.random.key(0)))
    assert found.shape == (CONTINUATION, 88)
    assert chords(found) == [[25 + t, 45 + t] for t in range(1, CONTINUATION + 1)]


def test_midi_read_back(tmp_path: Path):
    roll = source.roll([[60, 64], [60, 67], [], [21, 60, 108], [60]])
    write_midi(roll, tmp_path / "a.mid", steps_per_minute=120)
    file = mido.MidiFile(tmp_path / "a.mid")
    sounding, found = set(), []
    for message in file.tracks[0]:
        for _ in range(round(message.time / file.ticks_per_beat)):
            found.append(sorted(sounding))
        if message.type == "note_on":
            assert message.note not in sounding
            sounding.add(message.note)
        elif message.type == "note_off":
            sounding.remove(message.note)
    assert found == chords(roll)
    assert not sounding
    assert file.length == pytest.approx(2.5)
    draw_rolls({"$a": roll, "b": roll[:2]}, 2, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
