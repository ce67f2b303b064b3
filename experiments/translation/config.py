"""What a training run is: data, model, regularisation, schedule; and the named presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.translation.model import ModelConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the sentences come from. Without a path: the corpus that the project generates."""

    path: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """A folder with train.SOURCE, val.SOURCE, test*.SOURCE (plain or .gz), or one tab-separated
    file."""
    source: str = "de"
    target: str = "en"
    columns: tuple[int, int] = (0, 1)
    """Of a tab-separated file: the source's and the target's column."""
    vocabulary: int = 6000
    """Pieces of the sentencepiece model."""
    joint: bool = True
    """One vocabulary for both languages."""
    bpe_dropout: float = 0.0
    """Probability that a merge is skipped while training (Provilkov et al., 2020)."""
    max_pieces: int = 100
    """Longer training pairs are left out, and counted."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    epochs: int = 12
    batch_size: int = 128
    buckets: int = 8
    """Length buckets: as many programs are compiled."""
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """From the peak down to a hundredth of it at the last epoch."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    patience: int = 0
    """Stop after so many epochs without a better validation BLEU; 0: never."""
    keep: int = 5
    """Checkpoints kept, the best ones of which are averaged at the end."""
    save_seconds: float = 300.0
    """Also save within an epoch, this often."""
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n"

    def differences(self, other: TrainConfig) -> list[str]:
        """Each setting that is another in `other`, as "name: mine and theirs"."""
        mine, theirs = (
            {**c.pop("data"), **c.pop("model"), **c}
            for c in (dataclasses.asdict(self), dataclasses.asdict(other))
        )
        return [
            f"{name}: {mine[name]} and {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name]
        ]

    @staticmethod
    def from_json(text: str) -> TrainConfig:
        """Raises ValueError where the text is not such a configuration."""
        try:
            fields = json.loads(text)
            data, model = fields.pop("data"), fields.pop("model")
            data["path"] = None if data["path"] is None else Path(data["path"])
            data["columns"] = tuple(data["columns"])
            return TrainConfig(data=DataConfig(**data), model=ModelConfig(**model), **fields)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a training configuration: {error}") from error


PRESETS: dict[str, tuple[str, TrainConfig]] = {
    # The main job: the generated corpus, a few minutes on two cores.
    "small": (
        "the generated corpus in a few minutes on two cores",
        TrainConfig(
            data=DataConfig(vocabulary=1000),
            model=ModelConfig(
                cell="gru",
                embedding=128,
                encoder=128,
                decoder=192,
                attention_features=128,
                attentional=128,
                tie="all",
                dropout=0.1,
            ),
            epochs=6,
            buckets=4,
            learning_rate=3e-3,
        ),
    ),
    "tiny": (
        "seconds: for tests and first steps",
        TrainConfig(
            data=DataConfig(vocabulary=300),
            model=ModelConfig(
                cell="gru",
                embedding=32,
                encoder=32,
                decoder=32,
                attention_features=32,
                attentional=32,
                tie="all",
                dropout=0.0,
            ),
            epochs=1,
            batch_size=32,
            buckets=2,
            learning_rate=1e-2,
            warmup_steps=10,
        ),
    ),
    "multi30k": (
        "Multi30k, under an hour on two cores",
        TrainConfig(
            data=DataConfig(vocabulary=4000),
            model=ModelConfig(
                embedding=256,
                encoder=256,
                decoder=512,
                attention_features=256,
                attentional=256,
                tie="all",
                dropout=0.3,
            ),
            epochs=12,
            learning_rate=2e-3,
        ),
    ),
}
