"""Neural machine translation with recurrent networks, attention and beam search.

    python -m experiments.translation                 trains on the generated corpus and translates
    python -m experiments.translation train ...       trains on any parallel text, or goes on
    python -m experiments.translation evaluate ...    BLEU and chrF, greedy beside beam search
    python -m experiments.translation compare ...     searches side by side, and what they miss
    python -m experiments.translation translate ...   sentences from arguments, a file or a pipe
    python -m experiments.translation plot ...        learning curves

Hardware, times and the numbers to expect: experiments/translation/README.md.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main
from experiments.translation.config import PRESETS, TrainConfig
from experiments.translation.decoding import Decoding

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
    folder: Path = MAIN_JOB
    """The model's folder; a run found there is continued."""


@dataclasses.dataclass
class Evaluate:
    """Scores the test splits with sacrebleu, greedy beside beam search."""

    folder: Path
    """A trained model."""
    beam: tuple[int, ...] = (0, 1, 2, 5, 10)
    """Beam sizes; 0 is greedy search. Other searches than beam take the largest alone."""
    decoding: Decoding = dataclasses.field(default_factory=Decoding)
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
class Compare:
    """Beam sizes, exact search and minimum Bayes risk side by side: scores, time, search errors.

    Rows are kept as they finish: stopped, the same command goes on after the last one.
    """

    folder: Path
    """A trained model."""
    beam: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    """Beam sizes, a row each."""
    exact_beam: int = 10
    """Exact search begins with a beam of this size; 0: no exact search."""
    mbr_beam: int = 20
    """Minimum Bayes risk over the hypotheses of such a beam, too; 0: not."""
    sentences: int | None = None
    """So many sentences of the split, for a quick look; all unless given."""
    baseline: str = ""
    """The row, such as "exact", from which differences in BLEU are tested by paired bootstrap; beam
    5 unless given. Rows are kept: another baseline takes seconds."""
    split: str = ""
    """Its name; the first test split unless given."""
    length_penalty: float = 0.6
    """alpha of the GNMT length penalty: above 0 favours longer translations."""
    patience: float = math.inf
    """As for `evaluate`; but with less than inf, little can be proven."""
    max_ratio: float = 2.0
    """As for `evaluate`; the shorter translations must be, the more can be proven."""
    budget: int = 2000
    """The most prefixes of a sentence that exact search reads."""
    candidates: int = 64
    """Minimum Bayes risk over so many samples; 0: not."""
    utility: Literal["ngram", "bleu", "chrf"] = "ngram"
    """Minimum Bayes risk: what makes two translations alike."""
    average: int = 1
    """How many of the best checkpoints to average."""
    batch_size: int = 50
    """Sentences that are translated together."""
    data: Path | None = None
    """As for `evaluate`."""


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
    decoding: Decoding = dataclasses.field(default_factory=Decoding)
    n_best: int = 1
    """More than 1: so many translations each, as number<TAB>score<TAB>translation."""
    certificate: bool = False
    """A column before the translation: proven, or how much more another one could score."""
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
            {
                "train": Train,
                "evaluate": Evaluate,
                "compare": Compare,
                "translate": Translate,
                "plot": Plot,
            },
            prog="python -m experiments.translation",
            description=__doc__,
            # The second: `train tiny --folder F` as well as `train --folder F tiny`.
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs),
        )
    use_all_cores()
    # Only now: these take JAX's devices into use, and time that `--help` need not wait for.
    from experiments.translation import commands
    from experiments.translation.comparison import compare
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
                decoding=command.decoding,
                average=command.average,
                batch_size=command.batch_size,
                splits=command.splits,
                data_path=command.data,
            )
        case Compare():
            compare(
                ModelFolder(command.folder),
                beam_sizes=command.beam,
                exact_beam=command.exact_beam,
                mbr_beam=command.mbr_beam,
                decoding=Decoding(
                    length_penalty=command.length_penalty,
                    patience=command.patience,
                    max_ratio=command.max_ratio,
                    budget=command.budget,
                    candidates=command.candidates,
                    utility=command.utility,
                ),
                average=command.average,
                batch_size=command.batch_size,
                sentences=command.sentences,
                baseline=command.baseline,
                split=command.split,
                data_path=command.data,
            )
        case Translate():
            sentences = commands.read_sentences(command.sentences, command.file)
            commands.translate(
                ModelFolder(command.folder),
                sentences,
                beam_size=command.beam,
                n_best=command.n_best,
                decoding=command.decoding,
                certificate=command.certificate,
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
    commands.evaluate(folder, beam_sizes=(0, 5), average=1, batch_size=50)
    commands.plot(folder)
    print(
        f"The model and its plots are in {folder.path}. Translate with:\n"
        f'    python -m experiments.translation translate "Der kleine Hund schläft."'
    )


if __name__ == "__main__":
    run_main(main)
