"""Gradients against plain backpropagation, runs that go on."""

import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from experiments.common.errors import UserError, run_main
from experiments.common.files import claimed, read_json
from experiments.long_memory import report
from experiments.long_memory import run as running
from experiments.long_memory.__main__ import main
from experiments.long_memory.gradient import make_gradient
from experiments.long_memory.options import Options
from experiments.long_memory.tasks import Target, Task, adding
from tests.support import x64


def every_step(steps, inputs=2, outputs=3):
    """A task in float64 that has something due at every step, so that every path counts."""

    def loss(y, target):
        return target.weight * jnp.sum((y - target.value) ** 2)

    def draw(key):
        keys = jax.random.split(key, 3)
        value = jax.random.normal(keys[1], (steps, outputs), jnp.float64)
        weight = jax.random.uniform(keys[2], (steps,), jnp.float64)
        return jax.random.normal(keys[0], (steps, inputs), jnp.float64), Target(value, weight)

    batch = jax.vmap(draw)(jax.random.split(jax.random.key(0), 4))
    return Task(outputs, draw, loss, lambda y, target: y[0] > 0, batch, guess=0.0), batch


def _without_h(state):
    return state[0]._replace(h=jax.lax.stop_gradient(state[0].h)), state[1]


@x64()
@pytest.mark.parametrize("steps", [7, 12])
def test_gradients_are_those_of_plain_backpropagation(steps):
    """Exact ones; the truncated one with the state held constant every few steps, e-prop with h."""
    cells = (rx.lstm(3), rx.dense(3))
    task, (xs, targets) = every_step(steps)
    stack = rx.stack(*cells)
    params = stack.init(jax.random.key(1), xs[0, 0])

    @functools.partial(jax.jit, static_argnames=("look_back", "constant"))
    def slow(params, look_back, constant=lambda state: state):
        def one(params, xs, targets):
            total, state = 0.0, stack.initial_state(params)
            for at in range(steps):
                if (at - steps) % look_back == 0:
                    state = jax.lax.stop_gradient(state)
                state, y = stack.step(params, constant(state), xs[at])
                total += task.loss(y, jax.tree.map(lambda leaf, at=at: leaf[at], targets))
            return total

        return jax.value_and_grad(
            lambda p: jnp.mean(jax.vmap(one, in_axes=(None, 0, 0))(p, xs, targets))
        )(params)

    full = slow(params, steps)
    cases = [("bptt", 1, full), ("rtrl", 1, full), ("truncated", steps, full)]
    cases += [("truncated", 4, slow(params, 4))]
    if steps == 7:
        cases += [("eprop", 1, slow(params, steps, _without_h))]
    for method, look_back, expected in cases:
        found = jax.jit(make_gradient(method, cells, task, look_back))(
            params, xs, targets, jax.random.key(2)
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-12), found, expected
        )
    differ = jax.tree.map(lambda a, b: np.abs(a - b).max(), full[1], slow(params, 4)[1])
    assert differ[0].w_h > 1e-3


@pytest.mark.slow
@x64()
def test_uoro_is_right_in_the_mean():
    cells = (rx.elman(2), rx.dense(3))
    task, (xs, targets) = every_step(5)
    params = rx.stack(*cells).init(jax.random.key(1), xs[0, 0])
    _, expected = make_gradient("bptt", cells, task, 1)(params, xs, targets, jax.random.key(0))
    estimate = make_gradient("uoro", cells, task, 1)
    keys = jax.random.split(jax.random.key(2), 4000)
    _, found = jax.jit(jax.vmap(lambda key: estimate(params, xs, targets, key)))(keys)
    for draws, exact in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        error = draws.std(0) / np.sqrt(len(keys))
        np.testing.assert_array_less(np.abs(draws.mean(0) - exact), 5 * error + 1e-9)


@pytest.fixture
def cli(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["long_memory", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_main(main)
        return int(stopped.value.code or 0), *capsys.readouterr()

    return call


def test_a_run_goes_on_where_it_was_killed_and_shows_a_table(cli, tmp_path, monkeypatch):
    command = (
        *("--folder", tmp_path, "--tasks", "copy", "--lengths", 4, "--cells", "gru"),
        *("--features", 3, "--updates", 2, "--batch", 2, "--look-back", 3),
        *("--methods", "bptt", "truncated"),
    )
    train, trained = running.train, []

    def killed(cell, method, task, options, count):
        if trained:
            raise KeyboardInterrupt
        trained.append(method)
        return train(cell, method, task, options, count)

    with monkeypatch.context() as patch:
        patch.setattr(running, "train", killed)
        assert cli(*command)[0] == 130
    before = read_json(tmp_path / "results.json")["results"]
    assert [r["method"] for r in before] == trained == ["bptt"]
    code, out, err = cli(*command)
    assert code == 0, err
    after = read_json(tmp_path / "results.json")["results"]
    assert after[:1] == before
    assert [r["method"] for r in after] == ["bptt", "truncated"]
    for row in ("gru, bptt", "gru, truncated"):
        assert len(re.findall(rf"^\| {row} +\| +\d+ \|$", out, re.M)) == 1, out
    assert (tmp_path / "courses.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tables.md").read_text().count("T = 12") == 1
    # Nothing is left to do: at once, and the same tables.
    monkeypatch.setattr(running, "train", None)
    assert cli(*command)[1] == out
    code, _, err = cli(*command, "--features", 4)
    assert code == 2
    assert "holds results of other settings" in err
    with claimed(tmp_path):
        code, _, err = cli(*command)
    assert code == 2
    assert "another process is at work in" in err


def test_a_solved_task_is_left(tmp_path, monkeypatch):
    easy = adding(4)._replace(right=lambda y, target: jnp.asarray(True))
    monkeypatch.setattr(running, "make_task", lambda *_: easy)
    options = Options(
        tasks=("adding",),
        lengths=(4,),
        cells=("gru", "gru"),  # asked for twice, trained once
        methods=("bptt",),
        features=2,
        updates=150,
        batch=1,
        output=tmp_path,
    )
    (result,) = running.run(options)
    assert result["solved"]
    assert result["course"] == [(50, 100.0)]
    assert report.tables([result]).splitlines()[-1].split(" | ")[1] == "100 (50) |"


@pytest.mark.parametrize("content", ["[]", "{}", '{"settings": {}, "results": [{}]}'])
def test_what_is_no_result_is_one_sentence(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json holds no results of this experiment"):
        running.run(Options(output=tmp_path))


def test_truncated_alone_wants_something_to_truncate(tmp_path):
    short = Options(tasks=("adding",), lengths=(5,), methods=("truncated",), output=tmp_path)
    with pytest.raises(UserError, match="no sequence is longer than look_back, 10"):
        running.run(short)


def test_table_and_legend_name_whoever_is_in_some_panel(tmp_path, monkeypatch):
    def one(length, method):
        return report.Result(
            task="adding",
            length=length,
            cell="gru",
            method=method,
            course=[(1, 5.0)],
            scores=[5.0, 8.0],
            solved=False,
            guess=7.8,
        )

    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, path: drawn.append(figure))
    results = [one(5, "bptt"), one(30, "bptt"), one(30, "truncated")]
    report.plot_results(results, tmp_path / "courses.png")
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert texts == ["gru, bptt", "gru, truncated"]
    rows = [line.split("|")[1:-1] for line in report.tables(results).splitlines()[2:]]
    assert [[entry.strip() for entry in row] for row in rows] == [
        ["gru, bptt", "6", "6"],  # the mean of the seeds
        ["gru, truncated", "", "6"],
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("adding", "xor")}, "there is no 'xor'; there are adding, copy"),
        ({"methods": ("bppt",)}, "there is no 'bppt'"),
        ({"lengths": (1,)}, "lengths must be whole numbers from 2"),
        ({"look_back": 0}, "look_back must be a whole number from 1; got 0"),
        ({"updates": 120}, "updates must be up to 50 or a multiple of it.*; got 120"),
        ({"cells": ()}, "cells must be some of elman, irnn.*; got none"),
    ],
)
def test_settings_out_of_range_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        Options(**changes)
