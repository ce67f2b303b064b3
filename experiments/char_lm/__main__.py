"""A character language model, trained by truncated backpropagation through time.

    python -m experiments.char_lm                 trains on generated sentences, then writes some
    python -m experiments.char_lm train ...       trains on any text, or goes on
    python -m experiments.char_lm evaluate ...    nats and bits a letter on the held-out text
    python -m experiments.char_lm sample ...      writes on from a prompt
    python -m experiments.char_lm compare ...     LSTM, GRU, Elman and others side by side
    python -m experiments.char_lm plot ...        learning curves

Hardware, times and the numbers to expect: experiments/char_lm/README.md.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.char_lm.config import PRESETS, TrainConfig
from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main

MAIN_JOB = Path("runs/char_lm")

if TYPE_CHECKING:
    Preset = TrainConfig
else:
    Preset = tyro.extras.subcommand_type_from_defaults(
        {name: config for name, (_, config) in PRESETS.items()},
        {name: description for name, (description, _) in PRESETS.items()},
        prefix_names=False,
    )


@dataclasses.dataclass
class Train:
    """Trains a model, or goes on where an interrupted run stopped."""

    preset: Preset
    folder: Path = MAIN_JOB
    """The model's folder; a run found there is continued."""


@dataclasses.dataclass
class Evaluate:
    """The exact loss on the held-out text: every letter once, after all letters before it."""

    folder: Path
    """A trained model."""
    average: int = 1
    """How many of the best checkpoints to average."""
    text: Path | None = None
    """Another text, all of which is scored."""


@dataclasses.dataclass
class Sample:
    """Writes on from a prompt."""

    folder: Path = MAIN_JOB
    """A trained model."""
    prompt: str = ""
    """What the text begins with."""
    length: int = 500
    """Letters to write."""
    count: int = 1
    """How many texts."""
    temperature: float = 1.0
    """Below 1 sharper, above 1 flatter than the model's own distribution."""
    top_k: int | None = None
    """Draw among so many of the likeliest letters only."""
    top_p: float = 1.0
    """Draw among the likeliest letters that have this probability together."""
    average: int = 1
    """How many of the best checkpoints to average."""
    seed: int = 0


@dataclasses.dataclass
class Compare:
    """Trains LSTM, GRU, Elman, layer-norm and weight-dropped LSTM, and prints a table.

    So the preset's `cell` and `weight-dropout` are not looked at.
    """

    preset: Preset
    folder: Path = Path("runs/char_lm-cells")
    """One folder for each is made in it; runs found there are continued."""


@dataclasses.dataclass
class Plot:
    """Draws the learning curves of a run."""

    folder: Path
    """A run, finished or not."""


def main() -> None:
    command: Any = None
    if len(sys.argv) > 1:
        command = tyro.extras.subcommand_cli_from_dict(
            {
                "train": Train,
                "evaluate": Evaluate,
                "sample": Sample,
                "compare": Compare,
                "plot": Plot,
            },
            prog="python -m experiments.char_lm",
            description=__doc__,
            # The second: `train small --folder F` as well as `train --folder F small`.
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs),
        )
    use_all_cores()
    # Only now: these take JAX's devices into use, and time that `--help` need not wait for.
    from experiments.char_lm import commands
    from experiments.char_lm.folder import RunFolder
    from experiments.char_lm.train import train

    match command:
        case None:
            folder = train(PRESETS["small"][1], MAIN_JOB)
            commands.plot(folder)
            commands.evaluate(folder)
            commands.sample(folder, **_settings(Sample(length=300)))
            print(f"The model and its curves are in {folder.path}.")
        case Train(preset, path):
            commands.plot(train(preset, path))
        case Evaluate(path, average, text):
            commands.evaluate(RunFolder(path), average=average, text=text)
        case Sample():
            commands.sample(RunFolder(command.folder), **_settings(command))
        case Compare(preset, path):
            commands.compare(preset, path)
        case Plot(path):
            print(commands.plot(RunFolder(path)))


def _settings(command: Sample) -> dict[str, Any]:
    return {name: value for name, value in vars(command).items() if name != "folder"}


if __name__ == "__main__":
    run_main(main)
