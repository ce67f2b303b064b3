"""The command line from a trained model to its plots; every mistake ends in one sentence."""

import dataclasses
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.common.errors import UserError
from experiments.common.files import read_json
from experiments.common.metrics import read_metrics
from experiments.translation.config import DataConfig
from experiments.translation.data import load_data
from experiments.translation.folder import ModelFolder
from experiments.translation.text import read_lines
from experiments.translation.train import train

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n"


@pytest.fixture
def sentences(parallel):
    return read_lines(parallel / "test.de")[:3]


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained model's folder, to be damaged."""
    shutil.copytree(trained.path, tmp_path / "copy")
    return ModelFolder(tmp_path / "copy")


def test_evaluate_prints_and_keeps_scores_translations_and_pictures(cli, copy, parallel):
    result = cli(
        *("evaluate", "--folder", copy.path, "--splits", "val", "test", "--batch-size", 13),
        *("--beam", 0, 2, "--average", 1),
    )
    assert result.code == 0, result
    rows = re.findall(r"^ *(greedy|beam 2) +(\d+\.\d+) +(\d+\.\d+)", result.out, re.M)
    assert [row[0] for row in rows] == ["greedy", "beam 2"] * 2
    assert "tok:13a" in result.out
    assert "13 sentences, best checkpoint" in result.out
    # The best checkpoint is the one that did best on val, by greedy search.
    saved = read_json(copy.evaluation / "val.json")
    best = max(entry.get("val_bleu", 0) for entry in read_metrics(copy.path))
    assert saved["scores"]["greedy"]["bleu"] == pytest.approx(best)
    for name in ("test.greedy.txt", "test.beam2.txt"):
        text = (copy.evaluation / name).read_text(encoding="utf-8")
        assert text.count("\n") == 13
    for number in (1, 2, 3):
        assert (copy.plots / f"attention-test-{number}.png").read_bytes().startswith(PNG)
    for reference in read_lines(parallel / "test.en"):
        if f"reference    {reference}\n" in result.out:
            break
    else:
        pytest.fail("no example was shown")


def test_translate_reads_arguments_files_and_pipes(cli, trained, sentences, tmp_path):
    command = ("translate", "--folder", trained.path, "--beam", 0)
    by_argument = cli(*command, *sentences)
    assert by_argument.code == 0, by_argument
    assert by_argument.err == ""
    assert by_argument.out.count("\n") == 3
    piped = cli(*command, stdin="\ufeff{}\r\n\n{}\n{}\n".format(*sentences).encode())
    lines = by_argument.out.splitlines()
    assert piped.out.splitlines() == [lines[0], "", *lines[1:]]
    (tmp_path / "in.gz").write_bytes(gzip.compress("\n".join(sentences).encode()))
    assert cli(*command, "--file", tmp_path / "in.gz").out == by_argument.out


def test_n_best_is_numbered_and_scored(cli, trained, sentences):
    command = ("translate", "--folder", trained.path, "--beam", 3)
    rows = cli(*command, "--n-best", 3, sentences[0], " ", *sentences[1:]).out.splitlines()
    fields = [row.split("\t") for row in rows]
    assert [int(number) for number, _, _ in fields] == [1, 1, 1, 3, 3, 3, 4, 4, 4]
    scores = [float(score) for _, score, _ in fields[:3]]
    assert scores == sorted(scores, reverse=True)
    best = cli(*command, *sentences)
    assert best.out.splitlines() == [fields[0][2], fields[3][2], fields[6][2]]


def test_unseen_characters_and_very_long_sentences_are_translated(cli, trained, sentences):
    long = " ".join(sentences * 12)
    result = cli("translate", "--folder", trained.path, "--beam", 2, "Ω 漢字 \U0001f600!", long)
    assert result.code == 0, result
    assert result.out.count("\n") == 2


def test_a_folder_is_all_that_a_model_needs(copy, parallel, config, cli, sentences, tmp_path):
    """Moved, its data deleted, used in a pipe by a process elsewhere."""
    shutil.copytree(parallel, tmp_path / "data")
    data = dataclasses.replace(config.data, path=tmp_path / "data")
    (copy.path / "config.json").write_text(dataclasses.replace(config, data=data).to_json())
    os.rename(copy.path, tmp_path / "moved")
    shutil.rmtree(tmp_path / "data")
    found = subprocess.run(
        [sys.executable, *"-m experiments.translation translate --folder moved --beam 0".split()],
        input="\n".join(sentences),
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    here = cli("translate", "--folder", tmp_path / "moved", "--beam", 0, *sentences)
    assert found.stdout == here.out
    evaluated = cli("evaluate", "--folder", tmp_path / "moved")
    assert evaluated.is_one_sentence(str(tmp_path / "data"))


def test_a_damaged_checkpoint_is_passed_over_and_the_last_one_is_missed(cli, copy, sentences):
    def damage(path):
        (path / "info.json").write_bytes((path / "info.json").read_bytes()[:50])

    command = ("translate", "--folder", copy.path, "--beam", 0, *sentences)
    paths = sorted((copy.path / "checkpoints").iterdir(), reverse=True)
    damage(paths[0])
    assert cli(*command).code == 0
    for path in paths[1:]:
        damage(path)
    assert cli(*command).is_one_sentence("no trained model", str(copy.path))


def test_plot(cli, copy):
    result = cli("plot", "--folder", copy.path)
    assert result.code == 0
    (line,) = result.out.splitlines()
    assert Path(line).read_bytes().startswith(PNG)


# Mistakes


def delete(path, name):
    (path / name).unlink()


def append(path, name, text):
    with open(path / name, "ab") as file:
        file.write(text)


DATA_MISTAKES = {
    "missing file": (lambda data: delete(data, "train.en"), [], ["train.en is missing"]),
    "missing split": (
        lambda data: [delete(data, f"val.{language}") for language in ("de", "en")],
        [],
        ["holds no val.de and val.en"],
    ),
    "unequal": (lambda data: append(data, "train.de", b"Noch eins.\n"), [], ["61", "60"]),
    "empty line in val": (
        lambda data: [append(data, f"val.{language}", b"\n") for language in ("de", "en")],
        [],
        ["val.de, line 14: empty"],
    ),
    "empty line in test": (
        lambda data: (append(data, "test.de", b"x\n"), append(data, "test.en", b" \n")),
        [],
        ["test.en, line 14: empty"],
    ),
    "not UTF-8": (
        lambda data: append(data, "train.de", b"\xff\n"),
        [],
        ["train.de, line 61: not valid UTF-8"],
    ),
    "no folder": (shutil.rmtree, [], ["cannot read", "No such file"]),
    "other language": (lambda data: None, ["--source", "xx"], ["train.xx is missing"]),
    "vocabulary too large": (lambda data: None, ["--vocabulary", 99999], ["at most"]),
    "vocabulary too small": (lambda data: None, ["--vocabulary", 9], ["at least"]),
    "all too long": (lambda data: None, ["--max-pieces", 1], ["none of 60 pairs"]),
}


@pytest.mark.parametrize(("spoil", "options", "words"), DATA_MISTAKES.values(), ids=DATA_MISTAKES)
def test_bad_data_is_one_sentence_and_leaves_no_folder(
    cli, parallel, tmp_path, spoil, options, words
):
    data, folder = tmp_path / "data", tmp_path / "model"
    shutil.copytree(parallel, data)
    spoil(data)
    sizes = ["--batch-size", 13, "--vocabulary", 150]
    result = cli("train", "--folder", folder, "tiny", "--data", data, *sizes, *options)
    assert result.is_one_sentence(*words)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "tiny", "--epochs", "0"], ["epochs must be a whole number from 1; got 0"]),
        (["train", "tiny", "--batch-size", "0"], ["batch_size must be"]),
        (["train", "tiny", "--learning-rate", "-1"], ["learning_rate must be above 0"]),
        (["train", "tiny", "--dropout", "1"], ["dropout must be in [0, 1)"]),
        (["train", "tiny", "--bpe-dropout", "-0.1"], ["bpe_dropout must be in [0, 1)"]),
        (["train", "tiny", "--tie", "all", "--no-joint"], ["joint vocabulary"]),
        (["train", "tiny", "--attention", "dot"], ["twice encoder"]),
        (["train", "tiny", "--lerning-rate", "1"], ["--lerning-rate", "--learning-rate"]),
        (["train", "tiny", "--cell", "rnn"], ["--cell", "lstm"]),
        (["train", "teeny"], ["teeny", "small", "tiny", "multi30k"]),
        (["train"], ["small", "tiny", "multi30k"]),
        (["evaluate"], ["--folder"]),
        (["translate", "--beam", "five"], ["--beam", "five"]),
        (["trane"], ["trane", "train"]),
    ],
    ids=" ".join,
)
def test_a_mistyped_command_says_what_is_wrong(cli, arguments, words):
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    said = " ".join(result.err.replace("│", " ").split())
    assert not [word for word in words if word not in said], said


FOLDER_MISTAKES = {
    "no folder": (lambda f: shutil.rmtree(f.path), ["copy holds no model"]),
    "config missing": (lambda f: delete(f.path, "config.json"), ["no config.json"]),
    "config cut": (
        lambda f: os.truncate(f.path / "config.json", 40),
        ["config.json: not JSON, perhaps cut short"],
    ),
    "config not text": (
        lambda f: (f.path / "config.json").write_bytes(b"\xff\xff"),
        ["config.json:", "utf-8"],
    ),
    "config changed": (
        lambda f: (f.path / "config.json").write_text(
            (f.path / "config.json").read_text().replace('"gru"', '"lstm"')
        ),
        ["does not fit this model"],
    ),
    "vocabulary missing": (lambda f: delete(f.path, "target.spm"), ["cannot read", "target.spm"]),
    "vocabulary cut": (lambda f: os.truncate(f.path / "source.spm", 3000), ["source.spm"]),
    "vocabulary empty": (lambda f: os.truncate(f.path / "source.spm", 0), ["source.spm is not"]),
    "untrained": (lambda f: shutil.rmtree(f.path / "checkpoints"), ["no trained model yet"]),
}


@pytest.mark.parametrize(("spoil", "words"), FOLDER_MISTAKES.values(), ids=FOLDER_MISTAKES)
def test_a_damaged_model_folder_is_one_sentence(cli, copy, spoil, words):
    spoil(copy)
    result = cli("translate", "--folder", copy.path, "--beam", 0, "Der Hund schläft.")
    assert result.is_one_sentence(*words)


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["--beam", -1, "x"], b"", ["beam size", "-1"]),
        (["--beam", 2, "--n-best", 3, "x"], b"", ["from 1 to the beam size 2; got 3"]),
        (["--n-best", 0, "x"], b"", ["got 0"]),
        (["--average", 0, "x"], b"", ["average must be at least 1; got 0"]),
        (["--batch-size", 0, "x"], b"", ["batch size must be at least 1; got 0"]),
        (["--length-penalty", "nan", "x"], b"", ["finite number; got nan"]),
        (["--file", "no/such/file"], b"", ["cannot read no/such/file"]),
        (["--file", __file__, "x"], b"", ["both as arguments and as a file"]),
        (["\udcff"], b"", ["an argument is not valid UTF-8"]),
        ([], b"", ["no sentences"]),
        ([], b" \n\n", ["no sentences"]),
        ([], b"gut\n\xff\n", ["standard input is not valid UTF-8"]),
    ],
)
def test_translate_refuses_bad_input(cli, trained, arguments, stdin, words):
    result = cli("translate", "--folder", trained.path, *arguments, stdin=stdin)
    assert result.is_one_sentence(*words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--splits", "tset"], ["no split 'tset'", "train, val, test"]),
        (["--beam"], ["no beam size"]),
        (["--beam", 0, -2], ["got -2"]),
        (["--average", 0], ["average must be at least 1"]),
        (["--batch-size", 0], ["batch size must be at least 1"]),
        (["--data", "no/such/folder"], ["no/such/folder"]),
    ],
)
def test_evaluate_refuses_bad_input(cli, trained, arguments, words):
    result = cli("evaluate", "--folder", trained.path, *arguments)
    assert result.is_one_sentence(*words)


def test_plot_and_train_refuse_what_is_no_run(cli, config, compiled_once, tmp_path):
    assert cli("plot", "--folder", tmp_path).is_one_sentence("holds no model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        train(config, tmp_path / "file")


def test_the_generated_corpus_has_two_languages():
    with pytest.raises(UserError, match="source 'de' and target 'fr'"):
        load_data(DataConfig(target="fr"))
