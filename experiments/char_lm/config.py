"""What a training run is: text, model, regularisation, schedule; and the named presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from experiments.char_lm.model import ModelConfig
from experiments.char_lm.text import Made
from experiments.common.precision import Precision
from experiments.common.schedules import Kind
from experiments.common.settings import check_settings


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Raises:
      ValueError: a setting out of its range; it is named.
    """

    path: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """A text file, plain or .gz: its first 90% are trained on, the rest is held out. Without it:
    a text that the project makes."""
    made: Made = "sentences"
    """Which one: generated English sentences, one a line, or the letters of "hello"."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    epochs: int = 10
    streams: int = 32
    """B: places of the text that are read side by side, each with a state of its own."""
    chunk: int = 128
    """k: characters between two updates; gradients reach no further back, the state does."""
    forgets: float = 0.01
    """The share of streams that begin a chunk with an empty memory. Without it a network meets that
    once, at its first update, and later on may run away from it where a text or a sample begins."""
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    """Up to the peak; at most a tenth of the run."""
    schedule: Kind = "cosine"
    """From the peak down to a hundredth of it at the last update."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    precision: Precision = "float32"
    """bfloat16: products of roundings, summed in float32; all else stays float32."""
    patience: int = 0
    """Stop after so many epochs without a lower loss on the held-out text; 0: never."""
    keep: int = 3
    """The best checkpoints are kept, so many of them."""
    save_seconds: float = 300.0
    """Also save within an epoch, this often."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "a whole number from 1": "epochs streams chunk keep features layers",
                "a whole number from 0": "warmup_steps patience seed",
                "above 0": "clip_norm",
                "above 0 and finite": "learning_rate",
                "at least 0": "save_seconds",
                "at least 0 and finite": "weight_decay",
                "in [0, 1)": "forgets dropout input_dropout weight_dropout",
            },
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n"

    @staticmethod
    def from_json(text: str) -> TrainConfig:
        """Raises ValueError where the text is not such a configuration."""
        try:
            fields = json.loads(text)
            fields["path"] = None if fields["path"] is None else Path(fields["path"])
            return TrainConfig(model=ModelConfig(**fields.pop("model")), **fields)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON, perhaps cut short: {error}") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a training configuration: {error}") from error


PRESETS: dict[str, tuple[str, TrainConfig]] = {
    "small": (
        "generated sentences, minutes on two cores",
        TrainConfig(model=ModelConfig(features=128, dropout=0.1), epochs=4, learning_rate=5e-3),
    ),
    "hello": (
        'the letters of "hello" in seconds: after one l comes another, after two an o',
        TrainConfig(
            made="hello",
            model=ModelConfig(cell="elman", features=8),
            epochs=5,
            streams=4,
            chunk=25,
            learning_rate=3e-2,
            warmup_steps=0,
        ),
    ),
    "cells": (
        "a megabyte of text (--data), minutes a cell on two cores: what `compare` is for",
        TrainConfig(
            model=ModelConfig(features=256, dropout=0.2),
            epochs=8,
            streams=64,
            chunk=64,
            learning_rate=4e-3,
            precision="bfloat16",
        ),
    ),
    "shakespeare": (
        "a megabyte of text (--data), under an hour on two cores",
        TrainConfig(
            model=ModelConfig(features=384, layers=2, dropout=0.3, weight_dropout=0.3),
            epochs=16,
            streams=64,
            chunk=64,
            learning_rate=4e-3,
            precision="bfloat16",
        ),
    ),
}
