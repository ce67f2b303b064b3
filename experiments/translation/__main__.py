"""Neural machine translation with recurrent networks, attention and beam search.

    python -m experiments.translation                 trains on the generated corpus and translates
    python -m experiments.translation train ...       trains on any parallel text, or goes on
    python -m experiments.translation evaluate ...    BLEU and chrF, greedy beside beam search
    python -m experiments.translation translate ...   sentences from arguments, a file or a pipe
    python -m experiments.translation plot ...        learning curves

Hardware, times and the numbers to expect: experiments/translation/README.md.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main
from experiments.translation.config import PRESETS, TrainConfig

MAIN_JOB = Path("runs/translation")

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
    folder: Path = Path("runs/translation")
    """The model's folder; a run found there is continued."""


@dataclasses.dataclass
class Evaluate:
    """Scores the test splits with sacrebleu, greedy beside beam search."""

    folder: Path
    """A trained model."""
    beam: tuple[int, ...] = (0, 1, 2, 5, 10)
    """Beam sizes; 0 is greedy search."""
    length_penalty: float = 0.6
    """alpha of the GNMT length penalty: above 0 favours longer translations."""
    patience: float = 1.0
    """A search ends once this many times the beam size of hypotheses have; inf: only where none
    that is still alive can be better."""
    average: int = 1
    """How many of the best checkpoints to average."""
    batch_size: int = 50
    """Sentences that are translated together; it changes the speed and nothing else."""
    splits: tuple[str, ...] = ()
    """Their names; every test split unless given."""
    data: Path | None = None
    """A folder or a tab-separated file as for training; what the model was trained on unless
    given."""


@dataclasses.dataclass
class Translate:
    """Translates sentences from the arguments, a file, or standard input, one a line."""

    sentences: tyro.conf.Positional[tuple[str, ...]] = ()
    """In quotes, each an argument; standard input is read where there is none, and no file."""
    folder: Path = MAIN_JOB
    """A trained model."""
    file: Path | None = None
    """Sentences to translate, one a line; plain or .gz."""
    beam: int = 5
    """Beam size; 0 is greedy search."""
    n_best: int = 1
    """More than 1: so many translations each, as number<TAB>score<TAB>translation."""
    length_penalty: float = 0.6
    """alpha of the GNMT length penalty: above 0 favours longer translations."""
    patience: float = 1.0
    """A search ends once this many times the beam size of hypotheses have; inf: only where none
    that is still alive can be better."""
    average: int = 1
    """How many of the best checkpoints to average."""
    batch_size: int = 50
    """Sentences that are translated together; it changes the speed and nothing else."""


@dataclasses.dataclass
class Plot:
    """Draws the learning curves of a run."""

    folder: Path
    """A run, finished or not."""


def main() -> None:
    command: Any = None
    if len(sys.argv) > 1:
        command = tyro.extras.subcommand_cli_from_dict(
            {"train": Train, "evaluate": Evaluate, "translate": Translate, "plot": Plot},
            prog="python -m experiments.translation",
            description=__doc__,
            # The second: `train tiny --folder F` as well as `train --folder F tiny`.
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs),
        )
    use_all_cores()
    # Only now: these import JAX, which `--help` and a mistyped option need not wait for.
    from experiments.translation import commands
    from experiments.translation.folder import ModelFolder
    from experiments.translation.train import train

    match command:
        case None:
            main_job()
        case Train(preset, folder):
            train(preset, folder)
            commands.plot(ModelFolder(folder))
        case Evaluate():
            commands.evaluate(
                ModelFolder(command.folder),
                beam_sizes=command.beam,
                length_penalty=command.length_penalty,
                patience=command.patience,
                average=command.average,
                batch_size=command.batch_size,
                splits=command.splits,
                data_path=command.data,
            )
        case Translate():
            sentences = commands.read_sentences(command.sentences, command.file)
            commands.translate(
                ModelFolder(command.folder),
                sentences,
                beam_size=command.beam,
                n_best=command.n_best,
                length_penalty=command.length_penalty,
                patience=command.patience,
                average=command.average,
                batch_size=command.batch_size,
            )
        case Plot(folder):
            for path in commands.plot(ModelFolder(folder)):
                print(path)


def main_job() -> None:
    """Trains on the generated corpus, scores unseen sentences, shows some, draws the plots."""
    from experiments.translation import commands
    from experiments.translation.train import train

    folder = train(PRESETS["small"][1], MAIN_JOB)
    commands.evaluate(
        folder, beam_sizes=(0, 5), length_penalty=0.6, patience=1.0, average=1, batch_size=50
    )
    commands.plot(folder)
    print(
        f"The model and its plots are in {folder.path}. Translate with:\n"
        f'    python -m experiments.translation translate "Der kleine Hund schläft."'
    )


if __name__ == "__main__":
    run_main(main)
