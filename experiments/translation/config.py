"""What a training run is: data, model, regularisation, schedule; and the named presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from experiments.common.precision import Precision
from experiments.common.schedules import Kind
from experiments.common.settings import check_settings
from experiments.translation.model import ModelConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the sentences come from. Without a path: the corpus that the project generates."""

    path: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """A folder with train.SOURCE, val.SOURCE, test*.SOURCE (plain or .gz), or one tab-separated
    file."""
    source: str = "de"
    """How the source's files end; of a tab-separated file the columns say which side it is."""
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
    """One training run.

    Raises:
      ValueError: a setting out of its range, or two that contradict each other; it is named.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    epochs: int = 12
    batch_size: int = 128
    buckets: int = 8
    """Length buckets: as many programs are compiled."""
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    """Up to the peak; at most a tenth of the run."""
    schedule: Kind = "cosine"
    """From the peak down to a hundredth of it at the last epoch."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    consistency: float = 0.0
    """R-Drop (Liang et al., 2021): the weight of the divergence between two draws of the dropout.
    0: off; else a step reads each pair twice."""
    teacher: tuple[Path, ...] = ()
    """Folders of trained models whose mean prediction is learnt, too (Kim and Rush, 2016)."""
    teacher_weight: float = 0.5
    """How much of the loss is the teacher's."""
    precision: Precision = "float32"
    """bfloat16: products of roundings, summed in float32; all else stays float32."""
    patience: int = 0
    """Stop after so many epochs without a better validation BLEU; 0: never."""
    keep: int = 5
    """The best checkpoints are kept, so many of them; `--average` takes their mean."""
    save_seconds: float = 300.0
    """Also save within an epoch, this often."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n"

    @staticmethod
    def from_json(text: str) -> TrainConfig:
        """Raises ValueError where the text is not such a configuration."""
        try:
            fields = json.loads(text)
            data, model = fields.pop("data"), fields.pop("model")
            data["path"] = None if data["path"] is None else Path(data["path"])
            data["columns"] = tuple(data["columns"])
            # A run of before there were teachers has none.
            fields["teacher"] = tuple(map(Path, fields.get("teacher", ())))
            return TrainConfig(data=DataConfig(**data), model=ModelConfig(**model), **fields)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON, perhaps cut short: {error}") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a training configuration: {error}") from error


_RANGES = {
    "a whole number from 1": (
        "epochs batch_size buckets keep vocabulary max_pieces embedding encoder encoder_layers "
        "decoder decoder_layers attention_features attentional"
    ),
    "a whole number from 0": "warmup_steps patience seed",
    "above 0": "clip_norm",
    "above 0 and finite": "learning_rate",
    "at least 0": "save_seconds",
    "at least 0 and finite": "weight_decay consistency",
    "in [0, 1]": "teacher_weight",
    "in [0, 1)": "dropout weight_dropout word_dropout bpe_dropout label_smoothing",
}


def _check(config: TrainConfig) -> None:
    """Raises ValueError for what no run can be made of, before anything is read or written."""
    check_settings(config, _RANGES)
    data, model = config.data, config.model
    if model.attention in ("dot", "scaled_dot") and model.decoder != 2 * model.encoder:
        raise ValueError(
            f"attention={model.attention} compares decoder and memory features, so decoder must "
            f"be twice encoder; got {model.decoder} and {model.encoder}"
        )
    if config.teacher and data.bpe_dropout:
        raise ValueError(
            f"a teacher reads the training pairs once, in one way of splitting them; got "
            f"bpe_dropout={data.bpe_dropout}"
        )
    if data.source == data.target:
        raise ValueError(f"source and target are both {data.source!r}")
    if model.tie in ("embeddings", "all") and not data.joint:
        raise ValueError(f"tie={model.tie} needs one joint vocabulary for both languages")
    if model.tie in ("output", "all") and model.attentional != model.embedding:
        raise ValueError(
            f"tie={model.tie} needs attentional and embedding to be equal; got "
            f"{model.attentional} and {model.embedding}"
        )


_MULTI30K = TrainConfig(
    data=DataConfig(vocabulary=4000),
    model=ModelConfig(
        embedding=256,
        encoder=256,
        decoder=512,
        attention_features=256,
        attentional=256,
        tie="all",
        dropout=0.25,
    ),
    epochs=14,
    learning_rate=2e-3,
)

PRESETS: dict[str, tuple[str, TrainConfig]] = {
    # The main job: the generated corpus, a few minutes on two cores.
    "small": (
        "the generated corpus in a few minutes on two cores",
        TrainConfig(
            data=DataConfig(vocabulary=1500),
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
            epochs=4,
            batch_size=64,
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
    "multi30k": ("Multi30k (--data), under an hour on two cores", _MULTI30K),
    "multi30k-wide": (
        "the same with 11 million parameters",
        dataclasses.replace(
            _MULTI30K,
            model=dataclasses.replace(
                _MULTI30K.model,
                embedding=384,
                encoder=384,
                decoder=768,
                attention_features=384,
                attentional=384,
                dropout=0.3,
            ),
        ),
    ),
}
