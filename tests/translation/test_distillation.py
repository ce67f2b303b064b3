"""Distillation: what the teacher predicts, kept and handed to the right pairs."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.common.metrics import read_metrics
from experiments.translation.batches import Batches
from experiments.translation.data import load_data
from experiments.translation.distillation import KEPT, SoftTargets, Teacher, soft_targets
from experiments.translation.folder import ModelFolder
from experiments.translation.tokenizer import BOS, train_vocabularies
from experiments.translation.train import train
from tests.translation.conftest import BATCH


@pytest.fixture(scope="module")
def batches(config, trained):
    pairs = load_data(config.data)["train"]
    return Batches(pairs, trained.vocabularies(), batch_size=BATCH, epochs=2, shapes=2)


@pytest.fixture(scope="module")
def soft(batches, trained):
    mesh = data_mesh(BATCH)
    return soft_targets(Teacher([trained.path], trained.vocabularies(), mesh), batches)


def test_targets_are_the_teacher_s_predictions_of_the_same_pairs(batches, soft, trained, config):
    """In an epoch that holds the pairs in another order than the one that the teacher read."""
    _, _, translator, params = trained.load(config.keep)

    @jax.jit
    def predict(source, length, target):
        inputs = np.array([BOS], np.int32)
        inputs = jax.numpy.concatenate([inputs, target[:-1]])
        ys, _ = translator.teach(params, source, length, inputs)
        return jax.nn.softmax(translator.logits(params, ys))

    read = 0
    for index in range(batches.per_epoch, 2 * batches.per_epoch):
        batch = soft.attached(batches[index])
        rows = zip(*batch[:4], *batch.soft, strict=True)
        for source, source_length, target, length, probabilities, pieces in rows:
            expected = np.asarray(predict(source, source_length, target))[:length]
            found = np.take_along_axis(expected, pieces[:length], -1)
            # Kept as float16.
            np.testing.assert_allclose(probabilities[:length], found, rtol=1e-3, atol=1e-6)
            highest = np.sort(expected, -1)[:, ::-1][:, :KEPT]
            np.testing.assert_allclose(probabilities[:length], highest, rtol=1e-3, atol=1e-6)
            assert not probabilities[length:].any()
            read += length
    assert read == soft.starts[-1] == len(soft.pieces)


def test_a_file_of_targets(soft, tmp_path):
    path = tmp_path / "teacher.npz"
    soft.write(path)
    jax.tree.map(np.testing.assert_array_equal, SoftTargets.read(path), soft)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"teacher\.npz.* is damaged .* predicted anew"):
        SoftTargets.read(path)
    np.savez(path, starts=soft.starts)
    with pytest.raises(UserError, match=r"teacher\.npz.* is damaged"):
        SoftTargets.read(path)


def test_a_student_learns_and_goes_on_without_its_teacher(config, trained, tmp_path, monkeypatch):
    """Bit for bit as one that nothing stopped, whose loss is another than without a teacher."""
    taught = dataclasses.replace(config, teacher=(trained.path,), epochs=2)
    whole = train(taught, tmp_path / "whole")
    losses = [entry["loss"] for entry in read_metrics(whole.path) if "loss" in entry]
    alone = [entry["loss"] for entry in read_metrics(trained.path) if "loss" in entry]
    assert losses[0] != alone[0]
    assert losses[-1] < losses[0]

    steps = whole.checkpoints(taught).steps()
    part = ModelFolder(tmp_path / "part")
    monkeypatch.setattr("experiments.translation.train.Teacher", None)
    with pytest.raises(TypeError):  # the teacher is asked where its predictions are not kept
        train(taught, part.path)
    assert not part.path.exists()
    part.path.mkdir()
    (part.path / "teacher.npz").write_bytes((whole.path / "teacher.npz").read_bytes())
    train(taught, part.path)
    assert part.checkpoints(taught).steps() == steps
    one, other = (folder.load()[-1] for folder in (whole, part))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert ModelFolder(part.path).config() == taught


def test_a_teacher_of_other_vocabularies(config, trained):
    pairs = load_data(config.data)["train"]
    others = train_vocabularies(pairs, 140)
    with pytest.raises(UserError, match="has other vocabularies than the run"):
        Teacher([trained.path], others, data_mesh(BATCH))


def test_a_teacher_reads_one_way_of_splitting(config, trained):
    data = dataclasses.replace(config.data, bpe_dropout=0.1)
    with pytest.raises(ValueError, match=r"one way of splitting them; got bpe_dropout=0\.1"):
        dataclasses.replace(config, data=data, teacher=(trained.path,))
