"""Configurations: kept exactly, compared by name, and refused where no run can be made of them."""

import dataclasses
from pathlib import Path

import pytest

from experiments.common.settings import differences
from experiments.translation.config import PRESETS, DataConfig, TrainConfig
from experiments.translation.model import ModelConfig


@pytest.mark.parametrize("name", PRESETS)
def test_json_gives_the_same_configuration(name):
    config = PRESETS[name][1]
    data = dataclasses.replace(config.data, path=Path("some/where"), columns=(1, 0))
    for one in (config, dataclasses.replace(config, data=data, learning_rate=1 / 3)):
        assert TrainConfig.from_json(one.to_json()) == one
        assert differences(one, one) == []


def test_differences_are_named():
    config = TrainConfig()
    other = dataclasses.replace(
        config, epochs=3, model=ModelConfig(cell="gru"), data=DataConfig(target="fr")
    )
    assert differences(config, other) == [
        "target: en and fr",
        "cell: lstm and gru",
        "epochs: 12 and 3",
    ]


@pytest.mark.parametrize(
    ("part", "setting", "words"),
    [
        ("", {"epochs": 0}, "epochs must be a whole number from 1; got 0"),
        ("", {"epochs": 1.5}, "epochs must be a whole number from 1; got 1.5"),
        ("", {"batch_size": 0}, "batch_size must be"),
        ("", {"buckets": 0}, "buckets must be"),
        ("", {"keep": 0}, "keep must be"),
        ("", {"learning_rate": -1.0}, "learning_rate must be above 0 and finite; got -1.0"),
        ("", {"learning_rate": float("nan")}, "got nan"),
        ("", {"clip_norm": 0.0}, "clip_norm must be above 0"),
        ("", {"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\); got 1.0"),
        ("", {"patience": -1}, "patience must be"),
        ("", {"warmup_steps": -1}, "warmup_steps must be"),
        ("", {"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ("", {"save_seconds": -1.0}, "save_seconds must be at least 0"),
        ("", {"seed": -1}, "seed must be"),
        ("", {"schedule": "step"}, "schedule must be one of constant, cosine, linear; got step"),
        ("data", {"vocabulary": 0}, "vocabulary must be"),
        ("data", {"bpe_dropout": 1.0}, "bpe_dropout must be"),
        ("data", {"max_pieces": 0}, "max_pieces must be"),
        ("data", {"target": "de"}, "source and target are both 'de'"),
        ("model", {"cell": "rnn"}, "cell must be one of lstm, gru, elman; got rnn"),
        ("model", {"encoder_layers": 0}, "encoder_layers must be"),
        ("model", {"dropout": 1.0}, "dropout must be"),
        ("model", {"word_dropout": -0.1}, "word_dropout must be"),
        ("model", {"attention": "dot"}, "be twice encoder; got 500 and 256"),
        ("model", {"tie": "output"}, "attentional and embedding to be equal; got 512 and 256"),
    ],
)
def test_impossible_settings_are_refused(part, setting, words):
    config = TrainConfig(model=ModelConfig(decoder=500))
    if part:
        setting = {part: dataclasses.replace(getattr(config, part), **setting)}
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(config, **setting)


def test_tied_embeddings_need_one_vocabulary():
    model = ModelConfig(tie="embeddings")
    with pytest.raises(ValueError, match="tie=embeddings needs one joint vocabulary"):
        TrainConfig(model=model, data=DataConfig(joint=False))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON, perhaps cut short"),
        ('{"data": ', "not JSON, perhaps cut short"),
        ("[]", "not a training configuration"),
        ('"text"', "not a training configuration"),
        ("{}", "not a training configuration: 'data'"),
        ('{"data": {}, "model": {}}', "not a training configuration: 'path'"),
        (TrainConfig().to_json().replace('"epochs"', '"epoch"'), "epoch"),
        (TrainConfig().to_json().replace("0.001", '"fast"'), "not a training configuration"),
        (TrainConfig().to_json().replace("lstm", "rnn"), "cell must be one of"),
    ],
)
def test_damaged_json_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig.from_json(text)
