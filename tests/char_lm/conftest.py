"""A text of a few hundred letters and a model that was trained on it, made once for these tests."""

import random
import sys
from typing import NamedTuple

import pytest

from experiments.char_lm.__main__ import main
from experiments.char_lm.config import TrainConfig
from experiments.char_lm.model import ModelConfig
from experiments.char_lm.train import train
from experiments.common.errors import run_main
from tests.support import programs_on_disk


@pytest.fixture(scope="package")
def compiled_once(tmp_path_factory):
    with programs_on_disk(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture(scope="package")
def text(tmp_path_factory):
    """600 letters of eight kinds, words of a few; 540 to train on: six updates an epoch."""
    draw = random.Random(0)
    words = ["abba", "bäcca", "deed", "fee"]
    path = tmp_path_factory.mktemp("text") / "words.txt"
    letters = " ".join(draw.choice(words) for _ in range(200))[:600]
    path.write_text(letters, encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def config(text):
    """Three epochs of six steps, each step saved; streams that only one device divides."""
    model = ModelConfig(features=6, layers=2, dropout=0.2, input_dropout=0.1, weight_dropout=0.3)
    return TrainConfig(
        path=text,
        model=model,
        epochs=3,
        streams=5,
        chunk=16,
        learning_rate=3e-2,
        save_seconds=0.0,
    )


@pytest.fixture(scope="package")
def trained(config, tmp_path_factory, compiled_once):
    """The folder of a model whose training nothing interrupted."""
    return train(config, tmp_path_factory.mktemp("trained"))


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys, compiled_once):
    """`python -m experiments.char_lm` with these arguments, in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["char_lm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_main(main)
        return Result(int(stopped.value.code or 0), *capsys.readouterr())

    return run
