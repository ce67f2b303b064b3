"""The experiment's parts: training, verdicts, tables, the command."""

import json
import math

import numpy as np
import optax
import pytest

import recurrax as rx
from experiments.claims import __main__ as command
from experiments.claims import run as runner
from experiments.claims.contest import (
    Entry,
    Result,
    blocks,
    entry,
    parameters,
    run_contest,
    same_text_cells,
    updates_until,
    verdict,
)
from experiments.claims.options import CLAIMS, QUICK, Options, Schedule
from experiments.claims.report import clipping_table, contest_table, numbers
from experiments.claims.tasks import adding, characters, echo
from experiments.claims.training import Run, train
from experiments.common.errors import UserError
from experiments.common.progress import Progress


@pytest.mark.slow
def test_seeds_are_apart_and_repeatable():
    task, schedule = adding(5, tests=4), Schedule(3, 2, 2)
    optimizer = rx.clipped(optax.adam(1e-2), global_norm=1.0)

    def scores(seeds):
        with Progress(3) as progress:
            chosen = schedule._replace(seeds=seeds)
            return train(rx.elman(3), optimizer, chosen, task, progress)

    two, one = scores(2), scores(1)
    assert two.losses.shape == two.norms.shape == (3, 2)
    assert two.scores[0] != two.scores[1]
    np.testing.assert_allclose(two.losses[:, :1], one.losses, rtol=1e-5)
    assert two.parameters == 2 * 3 + 3 * 3 + 3 + 3 + 1


def test_training_learns():
    task = echo(6, delay=0, tests=10)
    optimizer = rx.clipped(optax.adam(5e-2), global_norm=1.0)
    chosen = Entry(task, {"Elman": rx.elman(4)}, optimizer, Schedule(60, 8, 2))
    with Progress(60) as progress:
        (result,) = run_contest("echo", chosen, progress)
    assert np.all(result.run.scores < 0.1)
    assert result.run.losses[0].min() > 0.2
    assert result.updates is None
    np.testing.assert_array_equal(result.decisive, result.run.scores)


def test_the_wider_gru_has_as_many_parameters_as_the_lstm():
    task = characters(4, sentences=5, tests=3)
    counts = [parameters(cell, task) for cell in same_text_cells(task, QUICK).values()]
    assert counts[1] < counts[0]
    step = parameters(rx.gru(11), task) - parameters(rx.gru(10), task)
    assert abs(counts[2] - counts[0]) <= step / 2 + 1


def test_updates_until_a_block_is_below():
    losses = np.ones((200, 3))
    losses[100:, 0] = 0
    losses[25:75, 1] = 0  # half of two blocks
    np.testing.assert_array_equal(updates_until(losses, 0.3), [150, math.inf, math.inf])
    np.testing.assert_array_equal(updates_until(losses, 0.6), [150, 50, math.inf])
    assert [part.shape for part in blocks(losses)] == [(4,), (4, 3)]
    assert [part.shape for part in blocks(losses[:20])] == [(1,), (1, 3)]
    # 20 updates are no block, and make none longer.
    np.testing.assert_array_equal(updates_until(losses[:170], 0.3), [150, math.inf, math.inf])
    np.testing.assert_array_equal(updates_until(losses[:20] * 0, 0.3), [20] * 3)


def test_verdicts():
    assert verdict([1, 2], [3, 4]) == "lower"
    assert verdict([3, math.inf], [1, 2]) == "higher"
    assert verdict([1, 3], [2, 4]) == "no clear difference"
    assert verdict([math.inf] * 2, [math.inf] * 2) == "no clear difference"


def _result(cell, scores, updates=None, norms=((5.0, 6.0),)):
    run = Run(1234, np.ones((3, 2)), np.asarray(norms), np.asarray(scores))
    return Result("adding", cell, "error", run, updates)


def test_tables():
    lines = contest_table(
        [
            _result("LSTM", [0.01, 0.03], np.array([100.0, 200.0])),
            _result("GRU", [0.01, 0.02], np.array([300.0, math.inf])),
        ]
    ).splitlines()
    assert [part.strip() for part in lines[2].split("|")[1:-1]] == [
        *("LSTM", "1,234", "150 ± 71", "0.0200 ± 0.0141", "-")
    ]
    assert [part.strip() for part in lines[3].split("|")[3:-1:2]] == ["1 of 2 seeds", "later"]
    same = contest_table([_result("GRU 8", [1.0, 2.0]), _result("GRU 9", [1.5, 2.5])])
    assert same.splitlines()[3].endswith("no clear difference |")
    scores = [math.nan, 3.0, 0.5]
    line = clipping_table([_result("Elman", scores, norms=[[5.0, math.nan]])]).splitlines()[2]
    assert line.split("|")[2].strip() == "3"
    assert line.split("|")[3].split() == ["0.5", "-", "inf"]
    assert line.split("|")[4].strip() == "inf"
    assert numbers([1.23456, math.inf]) == [1.235, None]


def test_an_unknown_claim_is_named():
    assert Options(claims=("speed", "adding")).chosen() == ("adding", "speed")
    with pytest.raises(UserError, match=r"--claims: there is no 'tv'; there are clipping, adding"):
        Options(claims=("tv",)).chosen()


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="no task 'tv'"):
        entry("tv", QUICK)


def _command(monkeypatch, capsys, folder, *arguments):
    monkeypatch.setattr("sys.argv", ["claims", "--quick", "--output", str(folder), *arguments])
    command.main()
    saved = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert all(saved[name]["size"]["window"] == QUICK.window for name in saved)
    return capsys.readouterr().out, {name: saved[name]["results"] for name in saved}


@pytest.mark.slow
def test_the_command_prints_and_saves(tmp_path, monkeypatch, capsys):
    """One cell and one task, the cheapest."""
    cell = {"Elman": rx.elman(3)}
    optimizer = rx.clipped(optax.sgd(0.1), global_norm=1.0)
    chosen = Entry(adding(4, tests=3), cell, optimizer, QUICK.adding)
    monkeypatch.setattr(runner, "entry", lambda name, size: chosen)
    out, saved = _command(monkeypatch, capsys, tmp_path, "--claims", "adding")
    assert "updates to learn it" in out
    (row,) = saved["adding"]
    assert (row["task"], row["cell"], row["parameters"]) == ("adding", "Elman", 22)
    assert len(row["scores"]) == len(row["losses"]) == QUICK.adding.seeds
    assert (tmp_path / "adding.md").read_text().strip().splitlines()[-1] in out
    assert (tmp_path / "adding.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_claim_runs(tmp_path, monkeypatch, capsys):
    _, saved = _command(monkeypatch, capsys, tmp_path)
    assert sorted(saved) == sorted(CLAIMS)
    for task in ("adding", "counting", "timing"):
        assert [row["cell"] for row in saved[task]] == ["LSTM", "peephole", "CIFG", "GRU"]
    assert len(saved["characters"]) == len(saved["clipping"]) == 3
    assert all(timing["median"] > 0 for timing in saved["speed"].values())
