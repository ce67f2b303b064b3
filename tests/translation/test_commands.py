"""The sub-commands, from a trained model to translations, scores and pictures."""

import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.common.files import read_json
from experiments.common.metrics import read_metrics
from experiments.translation.text import read_lines
from experiments.translation.tokenizer import train_vocabularies

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n"


@pytest.fixture
def sentences(parallel):
    return read_lines(parallel / "test.de")[:3]


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
    references = read_lines(parallel / "test.en")
    shown = [text for text in references if f"  reference    {text}\n" in result.out]
    assert 3 <= len(shown) <= 6  # the three worst, the three best


def test_fewer_checkpoints_than_asked_for_are_counted(cli, copy):
    result = cli(
        *("evaluate", "--folder", copy.path, "--splits", "test", "--batch-size", 13),
        *("--beam", 0, "--average", 99),
    )
    assert "13 sentences, mean of the 3 best checkpoints" in result.out
    assert "99 checkpoints were to be averaged" in result.err
    assert read_json(copy.evaluation / "test.json")["settings"]["average"] == 3


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


def test_every_search_translates(cli, trained, copy, sentences):
    turned = json.loads((copy.path / "config.json").read_text())
    turned["data"] |= {"source": "en", "target": "de"}  # a model of the other direction, so to say
    (copy.path / "config.json").write_text(json.dumps(turned))
    command = ("translate", "--folder", trained.path, "--certificate", *sentences)
    options = [
        ("--search", "exact", "--budget", 50),
        ("--search", "sample", "--top-k", 5, "--temperature", 0.7),
        ("--search", "mbr", "--candidates", 4, "--n-best", 2),
        ("--search", "best-first", "--budget", 5, "--reverse", copy.path, "--beam", 2),
    ]
    for option in options:
        result = cli(*command, *option)
        assert result.code == 0, result
        rows = [row.split("\t") for row in result.out.splitlines()]
        assert len(rows) == 3 * (1 + ("--n-best" in option))
        claims = [row[-2] for row in rows]
        bounded = option[1] in ("exact", "best-first")
        assert all(re.fullmatch(r"proven|unfinished|gap (\d+\.\d+|inf)", c) for c in claims)
        assert bounded or set(claims) <= {"gap inf", "unfinished"}


@pytest.mark.slow
def test_an_ensemble_of_equal_models_is_the_model(cli, trained, copy, parallel, sentences):
    command = ("translate", "--folder", trained.path, "--beam", 2, *sentences)
    assert cli(*command, "--ensemble", copy.path).out == cli(*command).out
    (copy.path / "source.spm").write_bytes((ROOT / "README.md").read_bytes())
    assert cli(*command, "--ensemble", copy.path).is_one_sentence("source.spm")
    pairs = [(line, line.upper()) for line in read_lines(parallel / "train.de")]
    other = train_vocabularies(pairs, 150).source.model
    for name in ("source.spm", "target.spm"):
        (copy.path / name).write_bytes(other)
    result = cli(*command, "--ensemble", copy.path)
    assert result.is_one_sentence("other vocabularies", str(copy.path))


@pytest.mark.slow
def test_evaluate_takes_another_search(cli, copy):
    sizes = ("--splits", "test", "--batch-size", 13, "--beam", 1, 2)
    result = cli("evaluate", "--folder", copy.path, *sizes, "--search", "exact", "--budget", 50)
    assert result.code == 0, result
    saved = read_json(copy.evaluation / "test.exact.json")
    assert list(saved["scores"]) == ["exact"]
    assert saved["settings"]["beam_size"] == 2
    assert saved["settings"]["budget"] == 50
    shares = re.findall(r"^ *exact .* (\d+\.\d)%$", result.out, re.M)
    assert shares == [f"{100 * saved['scores']['exact']['proven']:.1f}"]


def test_unseen_characters_and_very_long_sentences_are_translated(cli, trained, sentences):
    long = " ".join(sentences * 4)
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
        [sys.executable, "-m", "experiments.translation", "translate", "--folder", "moved"],
        input="\n".join(sentences),
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    here = cli("translate", "--folder", tmp_path / "moved", *sentences)
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
    assert cli(*command).is_one_sentence("holds no trained model", str(copy.path))


def test_plot(cli, copy):
    result = cli("plot", "--folder", copy.path)
    assert result.code == 0
    (line,) = result.out.splitlines()
    assert Path(line).read_bytes().startswith(PNG)
