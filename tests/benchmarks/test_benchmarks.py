"""The benchmarks: their arithmetic, their refusal of unequal work, and a run of seconds."""

import importlib.util
import itertools
import json
import math
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import compiling, contenders, speed
from experiments.benchmarks.cells import WORKLOADS, Work, make_work, multiply_adds
from experiments.benchmarks.contenders import assemble, check_same, ours
from experiments.benchmarks.options import (
    CELLS,
    PEERS,
    Cells,
    Compile,
    Decode,
    Memory,
    Shape,
    parse_shape,
)
from experiments.benchmarks.peers import (
    ADAPTERS,
    Contender,
    Missing,
    gates,
    load,
    returned_gradients,
)
from experiments.benchmarks.report import Row, summary, times
from experiments.common.errors import UserError
from experiments.common.tables import table
from experiments.common.timing import Timing, measure

TINY = Shape(2, 3, 4, 5)


def test_every_function_is_measured_once_a_round_in_turn():
    calls, order = {}, []
    for name in "abc":
        calls[name] = lambda name=name: order.append(name)
    timings = measure(calls, repeats=4)
    assert [timings[name].rounds for name in "abc"] == [4, 4, 4]
    assert all(t.low <= t.median <= t.high for t in timings.values())
    runs = [name for name, _ in itertools.groupby(order)]
    assert runs == list("abc" + "abc" + "bca" + "cab" + "abc")  # first, how long each takes
    assert measure(calls, repeats=9, seconds=0)["a"].rounds == 3


def test_multiply_adds_of_the_lstm():
    # 28 ms at 240 GF/s is the floor of this training step.
    step = multiply_adds("lstm", Shape(32, 100, 128, 256))
    assert step["forward"] == 32 * 100 * (128 + 256) * 4 * 256
    assert step["train"] == 2 * step["forward"] + 32 * 100 * 256 * 4 * 256


def test_gates_in_another_order():
    np.testing.assert_array_equal(gates(jnp.arange(8), "ifgo", "igfo"), [0, 1, 4, 5, 2, 3, 6, 7])


def test_gradients_come_back_through_the_conversion():
    params = {"w": jnp.ones((2, 3)), "lacking": jnp.ones(2)}
    theirs = {"kernel": jnp.arange(6.0).reshape(3, 2)}
    back = returned_gradients(lambda p: {"kernel": -p["w"].T}, params, theirs)
    np.testing.assert_array_equal(back["w"], -theirs["kernel"].T)
    assert back["lacking"] is None


def test_unequal_work_is_refused():
    results = (np.ones((2, 3, 5), np.float32), {"w": np.ones(4, np.float32)})
    contender = Contender("peer", False, *[lambda *_: np.zeros(())] * 4)
    check_same(contender, results, results)
    check_same(contender, (results[0], {"w": None}), results)
    check_same(contender, *[(results[0], {"w": None})] * 2)
    with pytest.raises(AssertionError, match="outputs of peer differ"):
        check_same(contender, (results[0] + 0.01, results[1]), results)
    with pytest.raises(AssertionError, match=r"gradient of params\['w'\] of peer differ"):
        check_same(contender, (results[0], {"w": 2 * results[1]["w"]}), results)
    with pytest.raises(AssertionError, match="shape"):
        check_same(contender, (results[0][:1], results[1]), results)


def test_a_peer_that_is_not_installed_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "equinox", None)
    monkeypatch.delitem(sys.modules, "experiments.benchmarks.peers.eqx", raising=False)
    with pytest.raises(Missing, match="not installed"):
        load("equinox")


def _rows() -> list[Row]:
    def row(shape, name, sharded, median):
        timing = Timing(median, median - 1, median + 1, 5)
        return Row("lstm", shape, "train", name, sharded, timing, 2.0)

    return [
        row("32,1,1,1", "recurrax", False, 20.0),
        row("32,1,1,1", "recurrax", True, 10.0),
        row("32,1,1,1", "lax.scan", False, 60.0),
        row("32,1,1,1", "linen", False, 40.0),
        row("32,1,1,1", "haiku", False, 30.0),
        row("32,1,1,1", "haiku", True, 25.0),
        row("32,1,1,1", "recurrax, bfloat16", True, 5.0),
        row("1,1,1,1", "recurrax", False, 10.0),
        row("1,1,1,1", "haiku", False, 20.0),
    ]


def test_tables_and_ratios():
    rows = _rows()
    lines = times(rows, "lstm", "train").splitlines()
    assert "20.0 (19.0-21.0) 10.0x" in lines[2]
    assert lines[3].split("|")[3].strip() == "-"  # a batch of one is not sharded
    line = summary(rows, "train").splitlines()[2]
    best, both, torch, single, sharded, rounded, gained = line.split("|")[2:-1]
    assert best.split() == ["2.50", "(2.00-3.00)"]
    assert both.split() == ["2.50", "(2.50-2.50)"]
    assert single.split() == ["3.00", "(3.00-3.00)"]
    assert torch.strip() == sharded.strip() == "-"
    assert rounded.split() == ["6.00", "(6.00-6.00)"]
    assert gained.split() == ["2.00", "(2.00-2.00)"]
    assert table(["a", "b"], [["x", "1"]]) == "| a |  b |\n| - | -: |\n| x |  1 |"


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,x", "0,1,1,1", "1,2,3,-4"])
def test_a_wrong_shape_is_named(text):
    with pytest.raises(UserError, match="four positive numbers"):
        parse_shape(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cells(repeats=0), "repeats must be a whole number from 1; got 0"),
        (lambda: Cells(seconds=math.nan), "seconds must be at least 0; got nan"),
        (lambda: Compile(repeats=0), "repeats must be a whole number from 1; got 0"),
        (lambda: Memory(look_back=0), "look_back must be a whole number from 1; got 0"),
        (lambda: Memory(methods=()), "methods must be at least one; got none"),
        (lambda: Memory(lengths=(10, 10)), r"lengths must .* each greater .*; got \(10, 10\)"),
        (lambda: Memory(lengths=(0, 10)), r"lengths must be whole numbers from 1.*; got \(0, 10\)"),
        (lambda: Decode(average=0), "average must be a whole number from 1; got 0"),
        (lambda: Decode(beam=(2, 0)), r"beam sizes must be whole numbers from 1; got \(2, 0\)"),
        (lambda: Decode(beam=()), r"beam sizes must be whole numbers from 1; got \(\)"),
    ],
)
def test_settings_out_of_range_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_choices():
    assert Cells(cells=("gru", "lstm")).chosen_cells() == ("lstm", "gru")
    assert Cells().chosen_cells() == CELLS == tuple(WORKLOADS)
    assert Cells().chosen_peers() == PEERS == tuple(ADAPTERS)
    assert Cells(quick=True).budget() == 10
    with pytest.raises(UserError, match=r"--peers: there is no 'tf'; there are lax.scan"):
        Cells(peers=("tf",)).chosen_peers()


def test_a_run_prints_and_saves(tmp_path, monkeypatch, capsys):
    arguments = "cells --cells peephole --peers lax.scan haiku --repeats 2 --shapes 2,3,4,5"
    arguments += f" --no-sharded --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments.split()])
    command.main()
    output = capsys.readouterr().out
    assert "arithmetic floor" in output
    assert "without haiku, peephole:" in output
    saved = json.loads((tmp_path / "cells.json").read_text())
    assert {(row["name"], row["which"]) for row in saved["rows"]} == {
        (name, which)
        for name in ("recurrax", "recurrax, bfloat16", "lax.scan")
        for which in ("forward", "train")
    }
    assert all(row["median"] > 0 and row["floor"] > 0 for row in saved["rows"])
    assert "## peephole" in (tmp_path / "cells.md").read_text()
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_who_fails_or_computes_something_else_is_not_timed_but_told_of(
    tmp_path, monkeypatch, capsys
):
    def other(work):
        peer = ours(work)
        return peer._replace(forward=lambda params, xs: 1.1 * peer.forward(params, xs))

    def broken(work):
        raise RuntimeError("knows not\nthis JAX")

    peers = {"linen": SimpleNamespace(peer=other), "nnx": SimpleNamespace(peer=broken)}
    monkeypatch.setattr(contenders, "load", peers.__getitem__)
    monkeypatch.setattr(speed, "big_product", lambda: (lambda: None, 1))
    options = Cells(
        cells=("elman",),
        shapes=(str(TINY),),
        peers=tuple(peers),
        repeats=1,
        sharded=False,
        output=tmp_path,
    )
    with pytest.raises(UserError, match="2 contenders failed or computed something else"):
        speed.run(options)
    told = capsys.readouterr().err
    assert "linen, elman: AssertionError: outputs of linen differ from recurrax's by 1" in told
    assert "nnx, elman: RuntimeError: knows not this JAX" in told
    saved = json.loads((tmp_path / "cells.json").read_text())
    assert {row["name"] for row in saved["rows"]} == {"recurrax", "recurrax, bfloat16"}
    assert "- nnx, elman: RuntimeError" in (tmp_path / "cells.md").read_text()


def test_compiling_is_timed_from_empty_caches(tmp_path, monkeypatch):
    emptied = []
    monkeypatch.setattr(jax, "clear_caches", lambda: emptied.append(None))
    kept = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    try:
        compiling.run(Compile(cells=("elman",), shape=str(TINY), repeats=1, output=tmp_path))
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
    assert len(emptied) == 4  # both, once uncounted and once counted
    rows = json.loads((tmp_path / "compile.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["recurrax", "lax.scan"]
    for row in rows:
        trace, compiled, total = (row[stage]["median"] for stage in compiling.STAGES)
        assert min(trace, compiled) > 0
        assert total == pytest.approx(trace + compiled)
    ratio = rows[0]["total"]["median"] / rows[1]["total"]["median"]
    assert f" {ratio:.2f} |" in (tmp_path / "compile.md").read_text()


@pytest.mark.slow
def test_memory_grows_as_the_method_says(tmp_path, monkeypatch, capsys):
    arguments = "memory --cell elman --batch 2 --features 4 --lengths 64 1024 --look-back 16"
    arguments += f" --methods none sqrt truncated rtrl odd --time --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments.split()])
    command.main()
    output = capsys.readouterr().out
    assert "without checkpoint=odd" in output
    rows = json.loads((tmp_path / "memory.json").read_text())["rows"]
    sizes = {(row["label"], row["length"]): row.get("bytes") for row in rows}
    assert all(row["time"]["median"] > 0 for row in rows if "bytes" in row)
    assert len(re.findall(r" MiB, [\d.]+ \(", output)) == 8  # four methods that are, two lengths
    growth = {label: sizes[label, 1024] / sizes[label, 64] for label, n in sizes if sizes[label, n]}
    assert growth["checkpoint=none"] > 8
    assert 1.5 < growth["checkpoint=sqrt"] < 8
    assert growth["truncated, 16 steps"] < 1.5
    assert growth["RTRL"] < 1.5
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("by_xla", [False, True])
def test_whoever_splits_the_batch_the_work_is_the_same(by_xla):
    contenders, absences = assemble(make_work("elman", TINY), ("lax.scan",), by_xla=by_xla)
    assert not absences
    assert sum(contender.sharded for contender in contenders) == len(contenders) / 2


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_all_installed_peers_do_the_same_work(cell):
    work: Work = make_work(cell, TINY)
    contenders, absences = assemble(work, PEERS)
    assert not [absence for absence in absences if absence.failed]
    assert ours(work).forward(work.params, work.xs).shape == (2, 3, 5)
    if importlib.util.find_spec("keras") and cell in ("elman", "lstm", "gru", "gru-before"):
        assert "keras" in [contender.name for contender in contenders]
