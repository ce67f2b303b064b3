"""A small parallel folder and a model that was trained on it, made once for all these tests."""

import dataclasses
import io
import shutil
import sys
from typing import NamedTuple

import pytest

from experiments.common.errors import run_main
from experiments.translation.__main__ import main
from experiments.translation.config import PRESETS, DataConfig
from experiments.translation.corpus import generate
from experiments.translation.folder import ModelFolder
from experiments.translation.train import train
from tests.support import programs_on_disk

BATCH = 13  # a prime: one device is used, whatever the machine has, and so one program compiled


@pytest.fixture(scope="package")
def compiled_once(tmp_path_factory):
    with programs_on_disk(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture(scope="package")
def parallel(tmp_path_factory):
    """train, val and test of 60, 13 and 13 pairs: five batches an epoch, one to validate."""
    folder = tmp_path_factory.mktemp("parallel")
    for name, pairs in generate(seed=1, train=60, val=BATCH, test=BATCH).items():
        for side, language in enumerate(("de", "en")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="package")
def config(parallel):
    """`tiny`, but tinier: three epochs of five steps, each step saved."""
    tiny = PRESETS["tiny"][1]
    widths = ("embedding", "encoder", "decoder", "attention_features", "attentional")
    model = dataclasses.replace(tiny.model, dropout=0.2, **dict.fromkeys(widths, 8))
    return dataclasses.replace(
        tiny,
        data=DataConfig(path=parallel, vocabulary=150),
        model=model,
        epochs=3,
        batch_size=BATCH,
        buckets=1,
        save_seconds=0.0,
    )


@pytest.fixture(scope="package")
def trained(config, tmp_path_factory, compiled_once):
    """The folder of a model whose training nothing interrupted."""
    return train(config, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained model's folder, to be damaged."""
    shutil.copytree(trained.path, tmp_path / "copy")
    return ModelFolder(tmp_path / "copy")


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def is_one_sentence(self, *words):
        """Whether it is the one line of an error, and names what it should."""
        assert self.code == 2, self
        assert self.err.startswith("error: "), self
        assert self.err.endswith((".\n", "?\n")), self
        assert self.err.count("\n") == 1, self
        assert not [word for word in words if word not in self.err], self
        return True


@pytest.fixture
def cli(monkeypatch, capsys, compiled_once):
    """`python -m experiments.translation` with these arguments, in this process."""

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["translation", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            run_main(main)
        return Result(int(stopped.value.code or 0), *capsys.readouterr())

    return run
