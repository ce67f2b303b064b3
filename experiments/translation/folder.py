"""The folder of one model: all that `translate` needs, wherever it is moved to.

config.json            the training configuration
source.spm target.spm  the sentencepiece models (the same bytes where the vocabulary is joint)
teacher.npz            what the teachers predicted, where there are any
checkpoints/           training state, latest and best
metrics.jsonl          the curves          tensorboard/  the same, for TensorBoard
plots/                 learning curves, attention maps
evaluation/            scores and translations of the test splits
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import UserError
from experiments.common.files import read_file, write_file
from experiments.translation.config import TrainConfig
from experiments.translation.model import Params, Translator
from experiments.translation.tokenizer import Tokenizer, Vocabularies


class ModelFolder:
    """Paths and contents of one model's folder.

    Raises:
      UserError: `path` is something other than a folder.
    """

    def __init__(self, path: Path):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is not a folder.")
        self.path = path
        self.plots = path / "plots"
        self.evaluation = path / "evaluation"

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").is_file()

    def create(self, config: TrainConfig, vocabularies: Vocabularies) -> None:
        """Writes what does not change while training; the configuration last."""
        write_file(self.path / "source.spm", vocabularies.source.model)
        write_file(self.path / "target.spm", vocabularies.target.model)
        write_file(self.path / "config.json", config.to_json())

    def config(self) -> TrainConfig:
        """Raises UserError where there is no readable configuration."""
        if not self.exists:
            raise UserError(f"{self.path} holds no model: there is no config.json in it.")
        try:
            return TrainConfig.from_json(read_file(self.path / "config.json").decode())
        except ValueError as error:
            raise UserError(f"{self.path / 'config.json'}: {error}.") from error

    def vocabularies(self) -> Vocabularies:
        """Raises UserError where one is missing or damaged."""
        sides = []
        for name in ("source.spm", "target.spm"):
            tokenizer = Tokenizer(read_file(self.path / name))
            try:
                tokenizer.size  # noqa: B018 - reads the model
            except UserError as error:
                raise UserError(f"{self.path / name} is {error}") from error
            sides.append(tokenizer)
        return Vocabularies(*sides)

    def translator(self, config: TrainConfig, vocabularies: Vocabularies) -> Translator:
        sizes = vocabularies.source.size, vocabularies.target.size
        if config.data.joint and sizes[0] != sizes[1]:
            raise UserError(
                f"{self.path}: source.spm and target.spm must be the same joint vocabulary, but "
                f"hold {sizes[0]} and {sizes[1]} pieces."
            )
        return Translator(config.model, *sizes)

    def checkpoints(self, config: TrainConfig) -> Checkpoints:
        return Checkpoints(
            self.path / "checkpoints", keep_latest=2, keep_best=config.keep, higher_is_better=True
        )

    def load(self, average: int = 1) -> tuple[TrainConfig, Vocabularies, Translator, Params]:
        """The model with the best validation metric, or the mean of the `average` best.

        Raises:
          UserError: something is missing or damaged.
        """
        config, vocabularies = self.config(), self.vocabularies()
        translator = self.translator(config, vocabularies)
        # Shapes are all that reading needs: drawing the numbers would cost a compilation.
        params = jax.eval_shape(translator.init, jax.random.key(config.seed))
        checkpoints = self.checkpoints(config)
        if not checkpoints.best_steps():
            raise UserError(
                f"{self.path} holds no trained model: no intact checkpoint has a validation score; "
                f"the command that began the training goes on with it."
            )
        restored: Any = checkpoints.average(params, best=average, part="params")
        return config, vocabularies, translator, restored.state


def init_params(translator: Translator, seed: int) -> Params:
    return jax.jit(translator.init, static_argnames="dtype")(
        jax.random.fold_in(jax.random.key(seed), 0), dtype=jnp.float32
    )
