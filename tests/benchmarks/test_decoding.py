"""The decoding benchmark: the peer computes the same translations, and a run prints and saves."""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import decoding
from experiments.benchmarks.options import Decode
from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.translation.config import PRESETS
from experiments.translation.decoding import Decoding
from experiments.translation.model import ModelConfig, Translator
from experiments.translation.tokenizer import EOS

BATCH, COUNT, VOCABULARY = 4, 11, 23


@functools.cache
def work(tie="all", ending=1.0):
    """Sentences of a small model that is sharp and, by its bias, ends some of them early."""
    sizes = {"encoder": 6, "decoder": 7, "attention_features": 5}
    config = ModelConfig(embedding=8, attentional=8, tie=tie, **sizes)
    translator = Translator(config, VOCABULARY, VOCABULARY)
    params = jax.jit(translator.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 2.5 * leaf, params)
    params = params._replace(output_bias=params.output_bias.at[EOS].set(ending))
    random = np.random.default_rng(0)
    lengths = [6] * (COUNT - 2) + [3, 1]  # the longest first: all batches have one width
    sentences = [random.integers(4, VOCABULARY, length).tolist() for length in lengths]
    return decoding.work_of(
        translator, params, sentences, list, Decoding(length_penalty=0.7), "tiny", BATCH
    )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_peer_finds_the_same(beam_size):
    pytest.importorskip("torch")
    for tie, ending in (("all", 1.0), ("none", -1e9)):  # some are cut; all are cut
        task = work(tie, ending)
        theirs = decoding.theirs(task, beam_size, BATCH)()
        mine = decoding.ours(task, beam_size, data_mesh(BATCH, jax.devices()[:2]), BATCH)()
        assert mine.tokens == theirs.tokens
        np.testing.assert_allclose(mine.scores, theirs.scores, rtol=1e-4)
        ends = [tokens[-1] == EOS for tokens in theirs.tokens]
        assert any(ends) == (ending == 1)
        assert len({tuple(tokens) for tokens in theirs.tokens}) > COUNT // 2


def test_random_sentences_never_end(monkeypatch):
    monkeypatch.setattr(decoding, "PRESETS", {"multi30k": PRESETS["tiny"]})  # quick to draw
    task = decoding.make_work(Decode(sentences=100, batch_size=30))
    assert task.sentences == 100
    assert task.params.output_bias[EOS] == -1e9
    batches = task.batches(30)
    assert [int((batch.index >= 0).sum()) for batch in batches] == [30, 30, 30, 10]
    assert min(batch.source_length[batch.index >= 0].min() for batch in batches) >= 4


def test_a_run_prints_and_saves(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setattr(decoding, "make_work", lambda options: work())
    arguments = f"decoding --beam 2 --batch-size {BATCH} --repeats 1 --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments.split()])
    command.main()
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "decoding.json").read_text())["rows"]
    assert [row["name"] for row in rows][-1] == decoding.FOREIGN
    assert all(row["timing"]["median"] > 0 for row in rows)
    assert [row["equal"] for row in rows if "bfloat16" not in row["name"]] == [COUNT] * 4
    (table,) = [
        part for part in (tmp_path / "decoding.md").read_text().split("\n\n") if "|" in part
    ]
    assert table.strip() in printed


def test_a_model_without_sentences_is_refused():
    with pytest.raises(UserError, match="--folder and --file belong together"):
        decoding.make_work(Decode(folder=Path("x")))


def test_without_pytorch_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="PyTorch, which is not installed"):
        decoding.run(Decode())


def test_the_peer_refuses_what_it_does_not_have():
    pytest.importorskip("torch")
    from experiments.benchmarks.decoding_torch import TorchTranslator

    with pytest.raises(UserError, match="has cell lstm only; the model has gru"):
        TorchTranslator(ModelConfig(cell="gru"), work().params)
