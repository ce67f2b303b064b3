"""Every mistake at the command line ends in one sentence, and costs nothing that was there."""

import os
import shutil

import pytest

from experiments.common.errors import UserError
from experiments.translation.commands import read_sentences
from experiments.translation.config import DataConfig
from experiments.translation.data import load_data
from experiments.translation.train import train


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
    "vocabulary cut": (lambda f: os.truncate(f.path / "source.spm", 1000), ["source.spm"]),
    "vocabulary empty": (lambda f: os.truncate(f.path / "source.spm", 0), ["source.spm is not"]),
    "untrained": (lambda f: shutil.rmtree(f.path / "checkpoints"), ["no trained model"]),
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
        (["--patience", 0, "x"], b"", ["patience must be above 0; got 0"]),
        (["--temperature", 0, "x"], b"", ["temperature must be a finite number above 0; got 0"]),
        (["--top-p", 1.5, "x"], b"", ["top p must be above 0 and at most 1; got 1.5"]),
        (["--top-k", -1, "x"], b"", ["top k must be from 0", "got -1"]),
        (["--coverage", -0.1, "x"], b"", ["coverage must be a finite number from 0; got -0.1"]),
        (["--no-repeat", -2, "x"], b"", ["no repeat must be from 0", "got -2"]),
        (["--min-ratio", 3, "x"], b"", ["min ratio must not be above the max ratio 2.0; got 3"]),
        (["--require", " ", "x"], b"", ["require: each must have a word in it"]),
        (["--require", "漢", "x"], b"", ["'漢' has a character that no training sentence had"]),
        (["--require", "dog", "--forbid", "dog", "x"], b"", ["no translation satisfies all"]),
        (["--prefix", "漢", "x"], b"", ["prefix: '漢' has a character"]),
        (["--prefix", "\udcff", "x"], b"", ["prefix: ", "is not valid UTF-8"]),
        (["--require", "\u2581", "x"], b"", ["require: ", "nothing that is written"]),
        (["--min-pieces", 2**31, "x"], b"", ["min pieces must be from 0 to 2^31 - 1"]),
        (["--bias", "dog", "x"], b"", ["bias: expected WORD=NATS", "got 'dog'"]),
        (["--one-of", "no/such/file", "x"], b"", ["cannot read no/such/file"]),
        (["--min-pieces", 4, "--max-pieces", 3, "x"], b"", ["above the max pieces 3; got 4"]),
        (["--min-p", 2, "x"], b"", ["min p must be from 0 to 1; got 2"]),
        (["--typical", 0, "x"], b"", ["typical must be above 0 and at most 1; got 0"]),
        (["--reverse", "no/such/folder", "x"], b"", ["no/such/folder holds no model"]),
        (["--search", "diverse", "--groups", 2, "x"], b"", ["divide the beam size 5", "got 2"]),
        (["--search", "mbr", "--n-best", 65, "x"], b"", ["number of candidates 64; got 65"]),
        (["--search", "mbr", "--coverage", 1, "x"], b"", ["coverage", "mbr", "give one of them"]),
        (["--ensemble", "no/such/folder", "x"], b"", ["no/such/folder holds no model"]),
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


def test_a_closed_standard_input_holds_no_sentences(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="no sentences"):
        read_sentences((), None)


def test_plot_and_train_refuse_what_is_no_run(cli, config, tmp_path):
    assert cli("plot", "--folder", tmp_path).is_one_sentence("holds no model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        train(config, tmp_path / "file")


def test_the_generated_corpus_has_two_languages():
    with pytest.raises(UserError, match="source 'de' and target 'fr'"):
        load_data(DataConfig(target="fr"))
