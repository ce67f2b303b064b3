"""The folder of one run: all that sampling needs, wherever it is moved to.

config.json    the training configuration      alphabet.json   the letters, in order
checkpoints/   training state, latest and best
metrics.jsonl  the curves                      tensorboard/    the same, for TensorBoard
plots/         learning curves                 evaluation.json the exact loss on the held-out text
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.model import CharModel, Params
from experiments.char_lm.text import Corpus, load_corpus
from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import UserError
from experiments.common.files import read_file, read_json, write_file, write_json


class RunFolder:
    """Paths and contents of one run's folder.

    Raises:
      UserError: `path` is something other than a folder.
    """

    def __init__(self, path: Path):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is not a folder.")
        self.path = path
        self.curves = path / "plots" / "curves.png"
        self.evaluation = path / "evaluation.json"

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").is_file()

    def create(self, config: TrainConfig, alphabet: str) -> None:
        """Writes what does not change while training; the configuration last."""
        write_json(self.path / "alphabet.json", alphabet)
        write_file(self.path / "config.json", config.to_json())

    def config(self) -> TrainConfig:
        """Raises UserError where there is no readable configuration."""
        if not self.exists:
            raise UserError(f"{self.path} holds no model: there is no config.json in it.")
        try:
            return TrainConfig.from_json(read_file(self.path / "config.json").decode())
        except ValueError as error:
            raise UserError(f"{self.path / 'config.json'}: {error}.") from error

    def alphabet(self) -> str:
        """Raises UserError where it is missing or damaged."""
        alphabet = read_json(self.path / "alphabet.json")
        if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) < len(alphabet):
            raise UserError(f"{self.path / 'alphabet.json'} holds no alphabet.")
        return alphabet

    def corpus(self, config: TrainConfig) -> Corpus:
        """The text that the run is about, as long as it is the one that it began with.

        Raises:
          UserError: it is missing or damaged, or other letters occur in it now.
        """
        corpus, alphabet = load_corpus(config.path, config.made), self.alphabet()
        if corpus.alphabet != alphabet:
            raise UserError(
                f"{config.path or config.made} is not the text that {self.path} was begun with: "
                f"it has other letters."
            )
        return corpus

    def checkpoints(self, config: TrainConfig) -> Checkpoints:
        return Checkpoints(
            self.path / "checkpoints", keep_latest=2, keep_best=config.keep, higher_is_better=False
        )

    def load(self, average: int = 1) -> tuple[TrainConfig, str, CharModel, Params]:
        """The model with the lowest held-out loss, or the mean of the `average` best.

        Raises:
          UserError: something is missing or damaged; `average` is below 1.
        """
        if average < 1:
            raise UserError(f"the average must be of at least 1 checkpoint; got {average}.")
        config, alphabet = self.config(), self.alphabet()
        model = CharModel(config.model, len(alphabet))
        # Shapes are all that reading needs: drawing the numbers would cost a compilation.
        params = jax.eval_shape(model.init, jax.random.key(config.seed))
        checkpoints = self.checkpoints(config)
        if not checkpoints.best_steps():
            raise UserError(
                f"{self.path} holds no trained model: no intact checkpoint has a held-out loss; "
                f"the command that began the training goes on with it."
            )
        restored: Any = checkpoints.average(params, best=average, part="params")
        return config, alphabet, model, restored.state
