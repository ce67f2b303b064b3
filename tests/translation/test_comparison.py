"""Searches side by side: the verdicts are right, the files are there, nothing is done twice."""

import math
import re
import signal

import pytest

from experiments.common.files import read_json
from experiments.translation import comparison
from experiments.translation.comparison import Row, judge
from experiments.translation.data import load_data
from experiments.translation.decoding import Decoding
from experiments.translation.trained import Model

COUNT = 11  # a prime: one device is used
ROWS = ["beam 1", "beam 3", "exact", "mbr beam 3", "mbr 4 samples"]


def row(*found):
    scores, proven = zip(*found, strict=True)
    return Row(["x"] * len(found), list(scores), list(proven), 1.0)


def test_verdicts():
    verdicts = judge(
        {
            # missed; the best, proven by others; equal but for rounding; nothing; best known
            "beam": row((-3.0, False), (-1, False), (-2.00001, False), (None, False), (-4, False)),
            "exact": row((-2.5, True), (-1, True), (-2, True), (None, False), (-5, False)),
        }
    )
    assert verdicts["beam"] == (0.0, 0.2, 0.4)
    assert verdicts["exact"] == (0.6, 0.2, 0.2)


def test_a_proof_that_is_none_is_told(capsys):
    judge({"one": row((-2.0, True)), "two": row((-1.0, False))})
    assert "1 translations that were proven the best are not" in capsys.readouterr().err


@pytest.fixture
def command(copy):
    def arguments(exact=3, mbr=3, candidates=4, budget=300, penalty=0.5):
        sizes = ("--sentences", COUNT, "--batch-size", COUNT, "--beam", 1, 3)
        sizes += ("--exact-beam", exact, "--mbr-beam", mbr, "--candidates", candidates)
        numbers = ("--budget", budget, "--length-penalty", penalty)
        return ("compare", "--folder", copy.path, *sizes, *numbers)

    return arguments


@pytest.mark.slow
def test_the_report_and_that_rows_are_kept(cli, command, copy, config, monkeypatch):
    with monkeypatch.context() as patch:
        update, calls = comparison.Progress.update, []

        def stopped_in_the_second_row(self, *args, **kwargs):
            calls.append(update(self, *args, **kwargs))
            if len(calls) == 3:
                signal.raise_signal(signal.SIGINT)

        patch.setattr(comparison.Progress, "update", stopped_in_the_second_row)
        result = cli(*command())
    assert result.code == 130, result
    assert "the finished rows are kept; the same command goes on" in result.err
    folder = copy.evaluation / "test.compare"
    assert [file.name for file in folder.iterdir()] == ["beam-1.json"]

    searched, labels = comparison._searched, []
    monkeypatch.setattr(
        comparison, "_searched", lambda *a: (labels.append(a[2]["search"]), searched(*a))[1]
    )
    result = cli(*command())
    assert result.code == 0, result
    assert labels == ["beam", "exact", "mbr", "mbr"]
    assert re.findall(r"^\| (.*?) *\| +\d+\.\d+ \| +± ", result.out, re.M) == ROWS * 2
    report = read_json(copy.evaluation / "test.compare.json")
    assert list(report["rows"]) == ROWS
    assert [label for label, line in report["rows"].items() if line["p"] is None] == ["beam 3"]
    table = (copy.evaluation / "test.compare.md").read_text(encoding="utf-8")
    assert table.rstrip().split("\n\n")[0] == result.out.rstrip().split("\n\n")[-1]
    assert (copy.plots / "compare-test.png").read_bytes().startswith(b"\x89PNG\r\n")

    assert cli(*command()).out == result.out
    assert len(labels) == 4
    (folder / "exact.json").write_text("{")
    again = cli(*command())
    assert "exact.json is damaged; its row is computed again" in again.err
    assert labels[4:] == ["exact"]
    check_rows(copy, config, report["rows"])

    few = {"exact": 0, "mbr": 0, "candidates": 0, "budget": 7}
    cli(*command(**few))
    assert len(labels) == 5  # nothing that a beam search depends on
    cli(*command(**few, penalty=0.25))
    assert labels[5:] == ["beam", "beam"]


def check_rows(copy, config, lines):
    """Scores are the model's, the certified share counts the proofs, exact search misses least."""
    saved = read_json(copy.evaluation / "test.compare" / "beam-3.json")
    model = Model(copy, 1, COUNT, Decoding(length_penalty=0.5, patience=math.inf))
    pairs = load_data(config.data)["test"]
    everything = model.search(3)(model.params, [pair.source for pair in pairs])
    by_text = {h[0].text: h[0] for h in everything}
    for text, score, proven in zip(saved["texts"], saved["scores"], saved["proven"], strict=True):
        assert (score is None) == (by_text[text].stop != 1)
        assert score is None or score == pytest.approx(by_text[text].score, rel=1e-5)
        assert proven == (by_text[text].gap == 0)
    assert lines["beam 3"]["certified"] == pytest.approx(sum(saved["proven"]) / COUNT)
    assert lines["exact"]["certified"] >= lines["beam 3"]["certified"]
    assert lines["exact"]["missed"] <= lines["beam 1"]["missed"]
    assert lines["mbr beam 3"]["certified"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--beam", 0], ["beam sizes to compare must be at least 1; got 0"]),
        (["--beam", 2, "--exact-beam", -1], ["the exact beam must be at least 1, or 0", "got -1"]),
        (["--sentences", 0], ["number of sentences must be at least 1; got 0"]),
        (["--split", "tset"], ["no split 'tset'"]),
        (["--baseline", "beam 3"], ["one of the rows beam 1, beam 2,", "got 'beam 3'"]),
        (["--budget", 0], ["budget must be from 1", "got 0"]),
        (["--average", 0], ["average must be at least 1"]),
    ],
)
def test_compare_refuses_bad_input(cli, trained, arguments, words):
    assert cli("compare", "--folder", trained.path, *arguments).is_one_sentence(*words)
