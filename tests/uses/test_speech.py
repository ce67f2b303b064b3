"""Speech: what the synthetic digits promise, the filterbank, and the real recordings."""

import io
import tarfile
import wave
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.common.errors import UserError
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings
from experiments.uses.speech import data as source
from experiments.uses.speech import use as speech
from experiments.uses.speech.data import RATE, Recording, parts, read, spectra, strings


def tones(samples: np.ndarray) -> tuple[float, float]:
    """The frequency of the higher tone in the first and in the last third, by counting."""
    found = []
    for piece in (samples[: len(samples) // 3], samples[-len(samples) // 3 :]):
        spectrum = abs(np.fft.rfft(piece * np.hanning(len(piece)), 4096))
        frequencies = np.arange(len(spectrum)) * RATE / 4096
        spectrum[frequencies < 850] = 0
        found.append(float(frequencies[spectrum.argmax()]))
    return found[0], found[1]


def test_a_digit_and_the_one_five_above_glide_in_opposite_directions():
    recordings = source.generate(5, speakers=4, times=12)
    again = source.generate(5, speakers=4, times=12)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(recordings, again, strict=True))
    assert Counter(one.digit for one in recordings) == dict.fromkeys(range(10), 48)
    rises = {digit: [] for digit in range(10)}
    for one in recordings:
        first, last = tones(one.samples)
        rises[one.digit].append(last > first)
    for digit, upwards in {0: True, 2: True, 3: False, 5: False, 7: False, 8: True}.items():
        assert np.mean(np.array(rises[digit]) == upwards) > 0.9, digit
    lengths = {d: np.mean([len(r.samples) for r in recordings if r.digit == d]) for d in range(10)}
    assert max(lengths.values()) < 1.15 * min(lengths.values())


def test_strings_hold_every_recording_as_often_as_is_said():
    recordings = [
        Recording(digit, speaker, index, np.full(1600, 0.5, np.float32))
        for speaker in ("a", "b")
        for digit in range(10)
        for index in range(12)
    ]
    train, val, test = parts(recordings)
    assert [len(part) for part in (train, val, test)] == [40, 100, 100]
    assert not {one.index for one in train} & ({one.index for one in val} | set(range(5)))
    found = strings(test, 7, times=3)
    for one, other in zip(found, strings(test, 7, times=3), strict=True):
        np.testing.assert_array_equal(one.features, other.features)
    assert {len(one.digits) for one in found} == {1, 2, 3, 4, 5}
    assert Counter(digit for one in found for digit in one.digits) == dict.fromkeys(range(10), 30)
    for one in found:
        assert one.starts[0] == 0
        assert one.starts[-1] == len(one.features)
        # Each digit is 0.2 s, and no pause is longer than 0.15 s: of 30 ms steps, 6 to 12.
        gaps = np.diff(one.starts)
        assert len(gaps) == len(one.digits)
        assert gaps.min() >= 6
        assert gaps.max() <= 12


def test_spectra_are_those_of_a_loop():
    samples = np.random.default_rng(1).normal(size=700)
    found = spectra(samples).reshape(-1, source.BANDS)
    emphasised = [samples[0]] + [samples[i] - 0.97 * samples[i - 1] for i in range(1, 700)]

    def mel(f):
        return 2595 * np.log10(1 + f / 700)

    edges = [
        700 * (10 ** ((mel(60) + i * (mel(4000) - mel(60)) / 33) / 2595) - 1) for i in range(34)
    ]
    for number, begin in enumerate(range(0, 700 - 200 + 1, 80)):
        frame = [
            emphasised[begin + n] * (0.54 - 0.46 * np.cos(2 * np.pi * n / 199)) for n in range(200)
        ]
        energies = np.zeros(32)
        for k in range(129):
            frequency = k * 8000 / 256
            turning = np.exp(-2j * np.pi * k * np.arange(200) / 256)
            power = abs(np.dot(frame, turning)) ** 2
            for band in range(32):
                left, middle, right = edges[band : band + 3]
                if left < frequency <= middle:
                    energies[band] += power * (frequency - left) / (middle - left)
                elif middle < frequency < right:
                    energies[band] += power * (right - frequency) / (right - middle)
        np.testing.assert_allclose(found[number], np.log(energies + 1e-7), rtol=1e-5, atol=1e-5)
    assert found.shape[0] == 9  # 7 frames, filled up to whole steps of three
    np.testing.assert_array_equal(found[7:], found[[6, 6]])


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recordings").mkdir()
    for index in (0, 5, 12):
        for digit in (3, 7):
            content = wav(np.arange(300) * (index + 1))
            (tmp_path / "recordings" / f"{digit}_ann_{index}.wav").write_bytes(content)
    return tmp_path


def archived(folder):
    path = folder / "recordings.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for file in sorted((folder / "recordings").iterdir()):
            archive.add(file, f"recordings/{file.name}")
    return path


def test_reading(folder):
    found = read(folder)
    assert [one[:3] for one in found] == [(d, "ann", i) for d in (3, 7) for i in (0, 5, 12)]
    np.testing.assert_allclose(found[1].samples, np.arange(300) * 6 / 32768, atol=1e-7)
    assert found[1].samples.dtype == np.float32
    path = archived(folder)
    for place in (path, folder):
        for one, other in zip(found, read(place), strict=True):
            assert one[:3] == other[:3]
            np.testing.assert_array_equal(one.samples, other.samples)


def test_broken_files(folder):
    path = archived(folder)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"cannot read .*recordings\.tar\.xz, perhaps cut short"):
        read(path)
    path.unlink()
    file = folder / "recordings" / "3_ann_0.wav"
    whole = file.read_bytes()
    for content, message in (
        (whole[:-101], "3_ann_0.wav is cut short: 249 of 300 samples"),
        (whole[:20], "3_ann_0.wav is no WAV file"),
        (b"", "3_ann_0.wav is no WAV file"),
        (wav(np.arange(600), channels=2), "got 2, 2 and 8000"),
        (wav(np.arange(300), rate=16000), "got 1, 2 and 16000"),
        (wav(np.arange(10)), "3_ann_0.wav is cut short: 10 of 10"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read(folder)
    file.write_bytes(whole)
    file.rename(file.with_name("three.wav"))
    with pytest.raises(UserError, match=r"three\.wav: expected a name such as"):
        read(folder)
    (folder / "recordings" / "three.wav").unlink()
    (folder / "recordings" / "7_ann_0.wav").unlink()
    with pytest.raises(UserError, match="holds no recordings to test"):
        read(folder)
    for file in (folder / "recordings").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="holds no recordings, files such as"):
        read(folder)
    with pytest.raises(UserError, match="nowhere"):
        read(folder / "nowhere")


def test_rates_count_edits():
    said = [np.array([1, 2, 3]), np.array([4]), np.array([5, 5])]
    found = [np.array([1, 3, 10, 10]), np.array([4, 10]), np.array([10, 10])]
    rates = speech._rates(found, said)  # one deletion; nothing; two deletions
    assert rates == {
        "digit error rate": pytest.approx(3 / 6),
        "strings right": pytest.approx(1 / 3),
    }


@pytest.fixture(scope="module")
def small():
    """Two strings of random features, a small network, and what it is about."""
    random = np.random.default_rng(3)
    width = source.BANDS * source.STACK
    xs = [random.normal(size=(steps, width)).astype(np.float32) for steps in (9, 7)]
    examples = Examples(xs, [np.array([1, 1], np.int32), np.array([4, 0, 2], np.int32)])
    starts = [(0, 4, 9), (0, 2, 4, 7)]
    about = speech.About(np.zeros(width), np.ones(width), starts, starts)
    use = speech.Speech(Settings(features=3, layers=1, buckets=1), about)
    return use, jax.jit(use.init)(jax.random.key(0)), Data(examples, examples, examples, about)


def test_loss_is_the_sum_over_all_alignments(small):
    use, params, data = small
    x, y = data.train.xs[0], data.train.ys[0]
    example = Example(np.append(x[:5], x[5:] * np.nan, 0), 5, y, 2)
    probabilities = np.asarray(jax.jit(use._recognise)(params, example)["probabilities"], float)
    total = 0.0
    for path in np.ndindex(*(3,) * 5):  # of labels 0, 1 and the blank, which may do
        labels = [(0, 1, speech.BLANK)[i] for i in path]
        merged = [b for a, b in zip([None, *labels], labels, strict=False) if a != b]
        if [label for label in merged if label != speech.BLANK] == [1, 1]:
            total += np.prod([probabilities[t, label] for t, label in enumerate(labels)])
    loss, terms = jax.jit(use.loss)(params, example)
    np.testing.assert_allclose(float(loss), -np.log(total), rtol=1e-5)
    assert terms == 2


def test_baseline_is_told_the_segments(small):
    use, _, data = small
    assert use.baseline(data) == {"digit error rate": 0.0, "strings right": 1.0}  # train is test


def test_show_writes_a_picture(small, tmp_path):
    use, params, data = small
    lines = use.show(params, data, tmp_path)
    assert len(lines) == 2 * 2 + 1
    assert sum(line.startswith("  said 4 0 2, recognised") for line in lines) == 2
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
