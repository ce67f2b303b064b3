"""Training goes on bit for bit wherever it was killed; the commands, from a text to a sample."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

from experiments.char_lm import commands
from experiments.char_lm.config import PRESETS, TrainConfig
from experiments.char_lm.folder import RunFolder
from experiments.char_lm.sample import Sampler
from experiments.char_lm.text import load_corpus
from experiments.char_lm.train import train
from experiments.common.checkpoint_files import read_arrays, read_info
from experiments.common.errors import UserError
from experiments.common.files import read_json
from experiments.common.metrics import MetricsLog, read_metrics

STEPS, EPOCH = 18, 6


class Killed(BaseException):
    """As SIGKILL, but for this process."""


def killed_after(step):
    """`MetricsLog.log`, after which nothing happens any more once `step` was written."""
    log = MetricsLog.log

    def log_and_die(self, number, values):
        log(self, number, values)
        if number == step:
            raise Killed

    return log_and_die


def last_state(folder):
    path = max((folder / "checkpoints").iterdir())
    info = read_info(path)
    return info["step"], read_arrays(path, info)


def test_a_run_learns_and_leaves_its_curve(trained, config):
    entries = read_metrics(trained.path)
    assert [e["step"] for e in entries if "loss" in e] == list(range(1, STEPS + 1))
    epochs = [e for e in entries if "val_loss" in e]
    assert [(e["step"], e["epoch"]) for e in epochs] == [(EPOCH * n, n) for n in (1, 2, 3)]
    assert epochs[2]["val_loss"] < epochs[0]["val_loss"] < np.log(9)
    np.testing.assert_allclose(
        [e["val_bits"] for e in epochs], [e["val_loss"] / np.log(2) for e in epochs]
    )


def test_killed_anywhere_and_resumed_is_the_uninterrupted_run(
    config, trained, tmp_path, monkeypatch
):
    """Curve, params, moments and what each stream remembers, bit for bit."""
    for step in (1, 6, 9):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "log", killed_after(step))
            with pytest.raises(Killed):
                train(config, tmp_path)
    train(config, tmp_path)
    assert read_metrics(tmp_path) == read_metrics(trained.path)
    (step, arrays), (whole_step, whole) = last_state(tmp_path), last_state(trained.path)
    assert step == whole_step == STEPS
    assert set(arrays) == set(whole)
    assert {"carried/0/c", "carried/1/h"} <= set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], whole[name], err_msg=name)


def test_other_settings_in_the_same_folder_are_refused(config, trained):
    other = dataclasses.replace(config, epochs=4)
    with pytest.raises(UserError, match=r"with other settings .epochs: 3 and 4.; choose another"):
        train(other, trained.path)


def test_stops_early_and_stays_stopped(config, tmp_path, compiled_once):
    config = dataclasses.replace(config, learning_rate=1e-12, patience=1, epochs=4)
    train(config, tmp_path)
    entries = read_metrics(tmp_path)
    assert entries[-1]["epoch"] == 2
    train(config, tmp_path)
    assert read_metrics(tmp_path) == entries


def test_evaluate_is_exact_and_another_text_may_be_scored(cli, trained, text, tmp_path, capsys):
    result = cli("evaluate", "--folder", trained.path)
    assert result.code == 0, result
    found = read_json(trained.evaluation)
    assert f"{found['nats']:.4f} nats, {found['bits']:.4f} bits a letter, over 59" in result.out
    best = min(e["val_loss"] for e in read_metrics(trained.path) if "val_loss" in e)
    np.testing.assert_allclose(found["nats"], best, rtol=1e-4)
    held_out = tmp_path / "held_out.txt"
    corpus = load_corpus(text, "hello")
    held_out.write_text("".join(corpus.alphabet[n] for n in corpus.held_out), encoding="utf-8")
    again = cli("evaluate", "--folder", trained.path, "--text", held_out)
    assert again.out == result.out
    assert commands.evaluate(trained, average=99).letters == 59
    said = capsys.readouterr()
    assert "(mean of the 3 best checkpoints)" in said.out
    assert "99 checkpoints were to be averaged" in said.err


def test_a_text_that_has_changed_is_not_that_of_the_run(trained, text, tmp_path):
    """Its letters would be numbered otherwise, and scored so without a word."""
    run, other = tmp_path / "run", tmp_path / "other.txt"
    shutil.copytree(trained.path, run)
    other.write_text(text.read_text(encoding="utf-8").replace("a", "x"), encoding="utf-8")
    config = dataclasses.replace(trained.config(), path=other)
    (run / "config.json").write_text(config.to_json(), encoding="utf-8")
    for act in (lambda: commands.evaluate(RunFolder(run)), lambda: train(config, run)):
        with pytest.raises(UserError, match=r"other\.txt is not the text that .*run was begun"):
            act()


def test_samples_begin_with_the_prompt_and_obey_their_limits(cli, trained):
    command = ("sample", "--folder", trained.path, "--prompt", "abba fee", "--length", 30)
    one = cli(*command)
    assert re.fullmatch(r"abba fee[abcdefä ]{30}\n", one.out), one
    assert cli(*command).out == one.out
    assert cli(*command, "--seed", 1).out != one.out
    several = cli(*command, "--count", 3).out.split("\n\n---\n\n")
    assert len(set(several)) == 3
    greedy = {
        cli(*command, *options, "--seed", seed).out
        for options in (("--top-k", 1), ("--top-p", 1e-6), ("--temperature", 1e-4))
        for seed in (0, 1)
    }
    assert len(greedy) == 1


def test_letters_are_drawn_as_often_as_the_model_says(trained):
    _, alphabet, model, params = trained.load()
    drawn = Sampler(model, alphabet)(params, jax.random.key(0), "ab", length=1, count=16_000)
    _, scores = model.read(params, model.initial_state(params), np.array([1, 2]))
    expected = np.asarray(jax.nn.softmax(scores[-1]))
    shares = np.array([drawn.count(letter) for letter in alphabet]) / 16_000
    assert alphabet[1:3] == "ab"
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / 16_000))
    assert np.ptp(expected) > 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prompt", "xy"], "the model knows no 'x'; its alphabet is ' abcdefä'"),
        (["--length", 0], "the length must be at least 1; got 0"),
        (["--count", 0], "the count must be at least 1; got 0"),
        (["--temperature", 0], "the temperature must be above 0 and finite; got 0"),
        (["--top-k", 0], "top-k must be at least 1; got 0"),
        (["--top-p", 1.5], "top-p must be above 0 and at most 1; got 1.5"),
        (["--average", 0], "at least 1 checkpoint; got 0"),
        (["--folder", "no/such"], "no/such holds no model"),
    ],
)
def test_what_cannot_be_sampled_is_one_sentence(cli, trained, options, words):
    result = cli("sample", "--folder", trained.path, *options)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert words in result.err


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "alphabet.json").write_text('"aab"'), "holds no alphabet"),
        (lambda path: (path / "config.json").write_text("{"), "perhaps cut short"),
        (lambda path: (path / "config.json").write_text('{"path": null}'), "not a training conf"),
        (lambda path: shutil.rmtree(path / "checkpoints"), "holds no trained model"),
    ],
)
def test_a_damaged_folder_is_one_sentence(trained, tmp_path, damage, words):
    shutil.copytree(trained.path, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(UserError, match=words):
        RunFolder(tmp_path / "copy").load()


def test_the_command_line_trains_and_draws(cli, tmp_path):
    command = ("train", "--folder", tmp_path, "hello", "--epochs", 3)
    result = cli(*command)
    assert result.code == 0, result
    assert "100 held out, 4 different ones; 9 updates an epoch" in result.out
    assert (tmp_path / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "continuing at step 27 of 27" in cli(*command).out
    assert str(tmp_path) in cli("plot", "--folder", tmp_path).out
    # What Karpathy's four letters show: which letter follows an l depends on what came before.
    sample = cli("sample", "--folder", tmp_path, "--prompt", "he", "--length", 8, "--top-k", 1)
    assert sample.out == "hellohello\n"


@pytest.mark.slow
def test_compare_trains_each_cell_once_and_prints_a_table(cli, config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        commands, "CONTEST", {name: commands.CONTEST[name] for name in ("GRU", "layer-norm LSTM")}
    )
    command = (
        *("compare", "--folder", tmp_path, "small", "--data", config.path, "--features", 4),
        *("--epochs", 1, "--streams", 5, "--chunk", 16),
    )
    table = cli(*command).out.split("\n\n")[-1]
    for name, size in (("GRU", 200), ("layer-norm LSTM", 288)):
        assert re.search(rf"\| {name} +\| +{size} \|  *1\.\d+ \| *2\.\d+ \| +1 \|", table), table
    assert "continuing at step 6 of 6" in (again := cli(*command).out)
    assert again.endswith(table)
    assert (tmp_path / "compare.md").read_text().endswith(table)
    assert (tmp_path / "compare.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chunk": 0}, "chunk must be a whole number from 1; got 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite; got inf"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16; got float16"),
        ({"made": "poem"}, "made must be one of sentences, hello; got poem"),
    ],
)
def test_settings_out_of_range_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**changes)


def test_model_settings_are_checked_and_presets_come_back_from_json():
    for _, config in PRESETS.values():
        assert TrainConfig.from_json(config.to_json()) == config
        with pytest.raises(ValueError, match=r"weight_dropout must be in \[0, 1\)"):
            dataclasses.replace(config, model=dataclasses.replace(config.model, weight_dropout=1.0))
