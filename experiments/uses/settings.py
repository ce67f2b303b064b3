"""What a run of any use is: where its data are, how large the network, how it is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import recurrax as rx
from experiments.common.schedules import Kind
from experiments.common.settings import check_settings

CELLS = {
    "lstm": rx.lstm,
    "gru": rx.gru,
    "elman": rx.elman,
    "peephole_lstm": rx.peephole_lstm,
    "layer_norm_lstm": rx.layer_norm_lstm,
    "min_gru": rx.min_gru,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run; each use has its own defaults.

    Raises:
      ValueError: a setting out of its range; it is named.
    """

    data: Path | None = None
    """Real data, as the use's part of the README says; generated ones unless given."""
    cell: Literal["lstm", "gru", "elman", "peephole_lstm", "layer_norm_lstm", "min_gru"] = "lstm"
    features: int = 64
    """Of each layer, and of each direction where there are two."""
    layers: int = 1
    dropout: float = 0.2
    epochs: int = 10
    batch_size: int = 32
    buckets: int = 4
    """Length buckets: as many programs are compiled."""
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    """Up to the peak; at most a tenth of the run."""
    schedule: Kind = "cosine"
    """From the peak down to a hundredth of it at the last epoch."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    patience: int = 0
    """Stop after so many epochs without a better validation; 0: never."""
    save_seconds: float = 300.0
    """Also save within an epoch, this often."""
    seed: int = 0
    """Of the generated data, the splits, the first weights, the order and the dropout."""

    def __post_init__(self) -> None:
        check_settings(self, _RANGES)

    def make_cell(self) -> rx.Cell:
        """One layer's cell."""
        return CELLS[self.cell](self.features)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n"

    @staticmethod
    def from_json(text: str) -> Settings:
        """Raises ValueError where the text is no such settings."""
        try:
            fields = json.loads(text)
            fields["data"] = None if fields["data"] is None else Path(fields["data"])
            return Settings(**fields)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON, perhaps cut short: {error}") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not the settings of a run: {error}") from error


_RANGES = {
    "a whole number from 1": "features layers epochs batch_size buckets",
    "a whole number from 0": "warmup_steps patience seed",
    "above 0": "clip_norm",
    "above 0 and finite": "learning_rate",
    "at least 0": "save_seconds",
    "at least 0 and finite": "weight_decay",
    "in [0, 1)": "dropout",
}
