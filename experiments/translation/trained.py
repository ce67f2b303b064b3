"""A trained model, ready to search, and what it is scored on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.common.devices import data_mesh, replicate
from experiments.common.errors import UserError
from experiments.translation.data import load_data
from experiments.translation.decoding import Decoding
from experiments.translation.ensemble import Ensemble
from experiments.translation.folder import ModelFolder
from experiments.translation.reverse import Reverse
from experiments.translation.search import Search
from experiments.translation.text import Pair

DEFAULT = Decoding()


class Model:
    """A trained model, or an ensemble, loaded, on this machine's devices.

    Raises:
      UserError: a number below 1, no intact model in a folder, or other vocabularies there.
    """

    def __init__(
        self, folder: ModelFolder, average: int, batch_size: int, decoding: Decoding = DEFAULT
    ):
        for name, value in (("average", average), ("batch size", batch_size)):
            if value < 1:
                raise UserError(f"the {name} must be at least 1; got {value}.")
        self.config, self.vocabularies, *model = folder.load(average)
        models = [model]
        for path in decoding.ensemble:
            _, vocabularies, *other = ModelFolder(path).load(average)
            if vocabularies != self.vocabularies:
                raise UserError(
                    f"{path} has other vocabularies than {folder.path}: the models of an ensemble "
                    f"must share both."
                )
            models.append(other)
        translators, params = zip(*models, strict=True)
        alone = len(models) == 1
        self.translator = translators[0] if alone else Ensemble(translators, decoding.mean)
        self.mesh = data_mesh(batch_size)
        self.params = replicate(params[0] if alone else params, self.mesh)
        self.batch_size = batch_size
        self.decoding = decoding
        self.reverse = None
        if decoding.reverse is not None:
            self.reverse = Reverse(ModelFolder(decoding.reverse), average, self.mesh)
            self.reverse.check_turns_round(self.config.data)
        self.average = min(average, len(folder.checkpoints(self.config).best_steps()))
        """How many checkpoints it is the mean of: there may be fewer than were asked for."""

    def search(self, beam_size: int, n_best: int = 1, **changes: Any) -> Search:
        """A search with the model's options, or with `changes` among them."""
        return Search(
            self.translator,
            self.vocabularies,
            self.mesh,
            batch_size=self.batch_size,
            beam_size=beam_size,
            n_best=n_best,
            decoding=dataclasses.replace(self.decoding, **changes),
            reverse=self.reverse,
        )


def splits_to_score(
    model: Model, splits: Sequence[str] = (), data_path: Path | None = None
) -> dict[str, list[Pair]]:
    """The pairs of these splits, or of every test split, of the model's data or of another's.

    Raises:
      UserError: no such split, broken data.
    """
    data_config = model.config.data
    if data_path is not None:
        data_config = dataclasses.replace(data_config, path=data_path)
    data = load_data(data_config)
    splits = splits or [name for name in data if name.startswith("test")] or ["test"]
    for name in splits:
        if not data.get(name):
            raise UserError(f"there is no split {name!r}; there are {', '.join(data)}.")
    return {name: data[name] for name in splits}
