"""Piano rolls as MIDI files, and as pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.common.files import write_file
from experiments.common.plots import COLOURS, save
from experiments.uses.music.data import LOWEST


def write_midi(roll: np.ndarray, path: Path, *, steps_per_minute: float = 90) -> None:
    """Writes a roll [T, 88] as a MIDI file of one track, a step a quarter note.

    A key that sounds at two steps in a row is held: rolls do not tell that from struck twice.

    Raises:
      UserError: the file cannot be written.
    """
    import mido  # here: only this needs it

    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(steps_per_minute)))
    silence = np.zeros((1, roll.shape[1]), np.int8)
    changes = np.diff(roll.astype(np.int8), axis=0, prepend=silence, append=silence)
    waited = 0
    for change in changes:
        for kind, sign in (("note_off", -1), ("note_on", 1)):
            for key in np.flatnonzero(change == sign):
                note = int(key) + LOWEST
                track.append(mido.Message(kind, note=note, velocity=72, time=waited))
                waited = 0
        waited += file.ticks_per_beat
    buffer = io.BytesIO()
    file.save(file=buffer)
    write_file(path, buffer.getvalue())


def draw_rolls(rolls: Mapping[str, np.ndarray], opening: int, path: Path) -> None:
    """Draws rolls [T, 88] one below the other, two colours: up to step `opening`, and from there.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # here: it is slow to import

    longest = max(len(roll) for roll in rolls.values())
    figure = Figure(figsize=(3 + 0.12 * longest, 1.9 * len(rolls)), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(len(rolls), 1, sharex=True, sharey=True)))
    for ax, (title, roll) in zip(axes, rolls.items(), strict=True):
        for first, last, colour in ((0, opening, "#555555"), (opening, len(roll), COLOURS[0])):
            steps, keys = np.nonzero(roll[first:last])
            ax.barh(keys + LOWEST, 1, left=steps + first, height=0.9, color=colour)
        ax.axvline(opening, color=COLOURS[1], linewidth=1)
        ax.set_title(title, loc="left", fontsize=9, parse_math=False)
        ax.set_ylabel("MIDI note")
        ax.grid(color="#eeeeee", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlabel="step", xlim=(0, longest))
    save(figure, path)
