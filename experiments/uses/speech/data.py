"""Strings of spoken digits: recordings of one digit each, joined, and as spectra over time."""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import wave
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UserError

RATE = 8000
"""Samples a second."""
BANDS, STACK = 32, 3
"""Of the filterbank; frames of 10 ms that are one step of the network."""
_FRAME, _HOP, _SPECTRUM = 200, 80, 256
LONGEST = 5
"""Digits of a string."""


class Recording(NamedTuple):
    """One digit, spoken once. Of each speaker's recordings of a digit, `index` 0 to 4 are for the
    test and 5 to 9 for validation."""

    digit: int
    speaker: str
    index: int
    samples: np.ndarray
    """[N] float32 in [-1, 1)."""


class Spoken(NamedTuple):
    """A string of digits."""

    digits: tuple[int, ...]
    features: np.ndarray
    """[T, BANDS * STACK] float32, not yet normalised."""
    starts: tuple[int, ...]
    """The step in which each digit begins, and T: what a network is not told."""


def read(path: Path) -> list[Recording]:
    """The Free Spoken Digit Dataset: `{digit}_{speaker}_{index}.wav`, mono, 16 bits, 8 kHz.

    Args:
      path: a tar of them (compressed or not), the folder with `recordings.tar.xz`, or the folder
        with the files, or whose folder `recordings` has them.

    Raises:
      UserError: there are none, one of them is damaged or of another form.
    """
    recordings = [_recording(name, content) for name, content in _files(path)]
    if not recordings:
        raise UserError(f"{path} holds no recordings, files such as 7_jackson_0.wav.")
    for part, name in zip(parts(recordings), ("train on", "validate", "test"), strict=True):
        if not part:
            raise UserError(f"{path} holds no recordings to {name}: of 0 to 4, 5 to 9, from 10 on.")
    return sorted(recordings, key=lambda one: (one.speaker, one.digit, one.index))


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir() and (path / "recordings.tar.xz").is_file():
        path = path / "recordings.tar.xz"
    if path.is_dir():
        folder = path / "recordings" if (path / "recordings").is_dir() else path
        for file in sorted(folder.glob("*.wav")):
            yield str(file), file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".wav"):
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    yield f"{member.name} of {path}", content.read()
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"cannot read {path}, perhaps cut short: {error}.") from error


def _recording(name: str, content: bytes) -> Recording:
    found = re.search(r"(?:^|/)(\d)_(\w+)_(\d+)\.wav(?: of |$)", name)
    if not found:
        raise UserError(f"{name}: expected a name such as 7_jackson_0.wav.")
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = file.getnchannels(), file.getsampwidth(), file.getframerate()
            promised = file.getnframes()
            content = file.readframes(promised)
    except (wave.Error, EOFError, ValueError) as error:
        raise UserError(f"{name} is no WAV file, perhaps cut short: {error}.") from error
    if form != (1, 2, RATE):
        raise UserError(
            f"{name}: expected 1 channel, 2 bytes and {RATE} Hz, got {form[0]}, {form[1]} and "
            f"{form[2]}."
        )
    samples = np.frombuffer(content, "<i2", len(content) // 2).astype(np.float32)
    if len(samples) != promised or promised < _FRAME:
        raise UserError(f"{name} is cut short: {len(samples)} of {promised} samples.")
    digit, speaker, index = found.groups()
    return Recording(int(digit), speaker, int(index), samples / 32768)


def parts(
    recordings: Sequence[Recording],
) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """Those to train on, to validate and to test."""
    return (
        [one for one in recordings if one.index > 9],
        [one for one in recordings if 5 <= one.index <= 9],
        [one for one in recordings if one.index < 5],
    )


def strings(recordings: Sequence[Recording], seed: int, *, times: int = 1) -> list[Spoken]:
    """Strings of 1 to 5 digits of one speaker each, every recording in `times` of them.

    Between the digits are pauses of up to 0.15 s, half of them none at all. Each string has faint
    noise of its own, so that pauses are not to be known by perfect silence. The end of a speaker's
    recordings may be a string shorter than was drawn.
    """
    random = np.random.default_rng([seed, 5])
    found = []
    for speaker in sorted({one.speaker for one in recordings}):
        own = [one for one in recordings if one.speaker == speaker]
        for _ in range(times):
            order = random.permutation(len(own))
            while len(order):
                count = random.integers(1, LONGEST + 1)
                found.append(_joined([own[i] for i in order[:count]], random))
                order = order[count:]
    return found


def _joined(recordings: Sequence[Recording], random: np.random.Generator) -> Spoken:
    pieces, starts, length = [], [], 0
    for one in recordings:
        pause = max(0.0, random.uniform(-0.15, 0.15)) * (length > 0)
        pieces += [np.zeros(int(pause * RATE), np.float32), one.samples]
        starts.append((length + len(pieces[-2])) // (_HOP * STACK))
        length += len(pieces[-2]) + len(pieces[-1])
    samples = np.concatenate(pieces)
    samples += 10 ** random.uniform(-4, -3) * random.standard_normal(len(samples), np.float32)
    features = spectra(samples)
    digits = tuple(one.digit for one in recordings)
    return Spoken(digits, features, (*starts, len(features)))


def spectra(samples: np.ndarray) -> np.ndarray:
    """Log-mel filterbank energies [T, STACK * BANDS] of samples [N].

    Frames of 25 ms every 10 ms, pre-emphasis 0.97, a Hamming window, power spectrum of 256 points,
    triangles of equal width on the mel scale, natural logarithm; STACK frames side by side are one
    step of 30 ms, and the end is filled up with the last frame.
    """
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    power = abs(np.fft.rfft(frames * np.hamming(_FRAME), _SPECTRUM)) ** 2
    energies = np.log(power @ filterbank() + 1e-7)
    energies = np.pad(energies, ((0, -len(energies) % STACK), (0, 0)), mode="edge")
    return energies.reshape(-1, STACK * BANDS).astype(np.float32)


def filterbank() -> np.ndarray:
    """[frequencies, BANDS]: triangles on the mel scale, 2595 log10(1 + f / 700), from 60 Hz on."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (60, RATE / 2))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.arange(_SPECTRUM // 2 + 1)[:, None] * RATE / _SPECTRUM
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - left) / (middle - left)
    falling = (right - frequencies) / (right - middle)
    return np.clip(np.minimum(rising, falling), 0, None)


TONES = [((400, 400), (1000, 1900)), ((350, 650), (2100, 2100)), ((300, 700), (1100, 2200)),
         ((300, 700), (2200, 1100)), ((500, 500), (1500, 1500))]  # fmt: skip
"""Two tones of a digit, each from its first to its last frequency in Hz; those of the digits from 5
on are the same backwards, but for the last, which is interrupted instead."""


def generate(seed: int, speakers: int = 10, times: int = 24) -> list[Recording]:
    """Digits as two gliding tones, spoken `times` times by each of some synthetic speakers.

    A speaker has a pitch, which shifts all tones, and a tempo; each recording varies in both, in
    loudness, in how fast it glides where, and in noise. Digit d + 5 is digit d backwards (9 is 4
    with a gap), so its mean spectrum is the same: only the order in time tells them apart. Pauses
    do not, since most digits follow each other without any, and a 7 is as long as a 2.
    """
    random = np.random.default_rng([seed, 6])
    found = []
    for number in range(speakers):
        pitch, tempo = 2 ** random.uniform(-0.25, 0.25), 2 ** random.uniform(-0.4, 0.4)
        for digit in range(10):
            for index in range(times):
                samples = _tones(random, digit, pitch, tempo)
                found.append(Recording(digit, f"speaker{number}", index, samples))
    return found


def _tones(random: np.random.Generator, digit: int, pitch: float, tempo: float) -> np.ndarray:
    pitch = pitch * 2 ** random.uniform(-0.1, 0.1)
    count = int(0.25 * RATE / tempo * 2 ** random.uniform(-0.4, 0.4))
    time = np.linspace(0, 1, count)
    glide = time ** (2 ** random.uniform(-0.7, 0.7))
    loudness = np.sin(np.pi * time) ** 0.3
    if digit == 9:
        loudness *= abs(time - random.uniform(0.4, 0.6)) > 0.12
    samples = np.zeros(count)
    for first, last in TONES[digit % 5]:
        if digit >= 5:
            first, last = last, first
        frequency = pitch * (first + (last - first) * glide)
        strength = 2 ** random.uniform(-1, 1)
        samples += strength * np.sin(2 * np.pi * np.cumsum(frequency) / RATE + random.uniform(0, 6))
    samples *= loudness * 0.1 * 2 ** random.uniform(-1, 1)
    samples += 10 ** random.uniform(-2.5, -1.5) * random.standard_normal(count)
    return np.clip(samples, -1, 1).astype(np.float32)
