"""The shared run: it trains, stops, goes on bit for bit, and reports."""

import dataclasses
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrax as rx
from experiments.common.checkpoints import Checkpoints
from experiments.common.devices import data_mesh, shard
from experiments.common.errors import Interrupted, UserError, run_main
from experiments.common.files import read_json
from experiments.uses import run as running
from experiments.uses.__main__ import main
from experiments.uses.batches import Batches, Predictor, lengths
from experiments.uses.contract import Examples
from experiments.uses.run import run
from experiments.uses.sentiment.use import Sentiment
from experiments.uses.settings import Settings
from experiments.uses.step import TrainState, make_step
from tests.support import programs_on_disk

SETTINGS = dataclasses.replace(
    Sentiment.defaults, features=4, epochs=2, batch_size=600, buckets=1, save_seconds=0.0
)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with programs_on_disk(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, run(Sentiment, SETTINGS, path)


def test_a_run_ends_with_scores_curves_and_examples(whole, tmp_path, capsys):
    path, results = whole
    assert read_json(path / "results.json")["test"] == results["test"]
    assert set(results["test"]) == {"accuracy", "nats"}
    assert set(results["baseline"]) == {"accuracy"}
    assert (path / "plots" / "curves.png").stat().st_size > 1000
    again = run(Sentiment, SETTINGS, path)  # nothing is left to train
    assert again["test"] == results["test"]
    out = capsys.readouterr().out
    assert "| accuracy" in out
    assert "p(positive)" in out
    assert "continuing" not in out


def test_a_run_that_was_stopped_goes_on_bit_for_bit(whole, tmp_path, monkeypatch):
    make_step, steps = running.make_step, []

    def interrupting(*arguments):
        step = make_step(*arguments)

        def counted(state, batch):
            steps.append(1)
            if len(steps) in (3, 6):
                signal.raise_signal(signal.SIGINT)
            return step(state, batch)

        return counted

    monkeypatch.setattr(running, "make_step", interrupting)
    path = tmp_path / "part"
    for after in (3, 6):
        with pytest.raises(Interrupted, match=f"stopped after step {after} of 8"):
            run(Sentiment, SETTINGS, path)
    results = run(Sentiment, SETTINGS, path)
    assert len(steps) == 8
    assert results["test"] == whole[1]["test"]
    states = [
        Checkpoints(folder / "checkpoints").restore_latest(template(whole[0]))
        for folder in (whole[0], path)
    ]
    jax.tree.map(np.testing.assert_array_equal, *[found.state.params for found in states])


def template(path):
    data = Sentiment.load(None, SETTINGS.seed)
    use = Sentiment(SETTINGS, data.about)
    return running.init_state(use, running.make_optimizer(SETTINGS, 8), SETTINGS)


def test_a_folder_is_one_run(whole, tmp_path):
    with pytest.raises(UserError, match=r"other settings \(features: 4 and 5\)"):
        run(Sentiment, dataclasses.replace(SETTINGS, features=5), whole[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        run(Sentiment, SETTINGS, tmp_path / "file")
    (tmp_path / "config.json").write_text('{"data": null, "epo')
    with pytest.raises(UserError, match=r"config\.json: not JSON, perhaps cut short"):
        run(Sentiment, SETTINGS, tmp_path)


def test_missing_data_leave_no_folder_behind(tmp_path):
    settings = dataclasses.replace(SETTINGS, data=tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere"):
        run(Sentiment, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("features", 0, "a whole number from 1"),
        ("dropout", 1.0, "in [0, 1)"),
        ("learning_rate", float("inf"), "above 0 and finite"),
        ("cell", "transformer", "one of lstm"),
    ],
)
def test_settings_out_of_range(name, value, expected):
    with pytest.raises(ValueError, match=f"{name} must be ") as caught:
        dataclasses.replace(SETTINGS, **{name: value})
    assert expected in str(caught.value)


def test_settings_as_json(tmp_path):
    settings = dataclasses.replace(SETTINGS, data=tmp_path)
    assert Settings.from_json(settings.to_json()) == settings


class Line:
    """Terms and losses that differ from example to example, by hand."""

    def loss(self, params, example, key=None):
        valid = jnp.arange(len(example.x)) < example.x_length
        return jnp.sum(valid * (params * example.x[:, 0] - example.y) ** 2), example.x_length


def test_a_step_follows_the_mean_over_the_terms(ragged):
    """Of a batch that is filled up: what fills up counts nothing."""
    few = Examples(ragged.xs[:3], ragged.ys[:3])
    batch = next(Batches(few, batch_size=4, shapes=1).since(0))
    assert batch[1].sum() == 3
    optimizer = rx.clipped(optax.sgd(0.1), global_norm=1e9)
    params = jnp.float32(0.5)
    state = TrainState(jnp.int32(0), params, optimizer.init(params), jax.random.key(0))

    def mean(params):
        squares = [jnp.sum((params * x[:, 0] - y) ** 2) for x, y in zip(*few, strict=True)]
        return sum(squares) / sum(len(x) for x in few.xs)

    value, gradient = jax.value_and_grad(mean)(0.5)
    mesh = data_mesh(4)
    after, metrics = make_step(Line(), optimizer, mesh)(state, shard(batch, mesh))
    np.testing.assert_allclose(after.params, 0.5 - 0.1 * gradient, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert metrics["tokens"] == sum(len(x) for x in few.xs)


def test_a_setting_out_of_range_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["uses", "sentiment", "--epochs", "0"])
    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == "error: epochs must be a whole number from 1; got 0.\n"


@pytest.fixture(scope="module")
def ragged():
    draw = np.random.default_rng(0)
    xs = [draw.normal(size=(draw.integers(1, 20), 2)).astype(np.float32) for _ in range(37)]
    return Examples(xs, [np.float32(i) for i in range(37)])


def test_every_example_is_in_an_epoch_once(ragged):
    batches = Batches(ragged, batch_size=5, shapes=3, seed=1)
    assert batches.per_epoch == 8
    stream = batches.since(0)
    orders = []
    for _ in range(2):
        seen = []
        for _ in range(batches.per_epoch):
            example, weights = next(stream)
            assert example.x.shape[1] in batches.shapes[:, 0]
            for x, length, y, weight in zip(*example[:3], weights, strict=True):
                if weight:
                    np.testing.assert_array_equal(x[:length], ragged.xs[int(y)])
                    assert not x[length:].any()
                    seen.append(int(y))
        assert sorted(seen) == list(range(37))
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_stream_begins_anywhere(ragged):
    batches = Batches(ragged, batch_size=5, shapes=3, seed=1)
    stream, later = batches.since(0), batches.since(11)
    for _ in range(11):
        next(stream)
    for _ in range(7):
        jax.tree.map(np.testing.assert_array_equal, next(stream), next(later))


def test_predictions_come_in_order(ragged):
    def function(params, example, extra):
        steps = jax.numpy.arange(len(example.x))[:, None] < example.x_length
        return params * jax.numpy.sum(example.x * steps) + extra, example.y

    found = Predictor(function, batch_size=6, shapes=3)(2.0, ragged, 0.5)
    for (total, y), x, wanted in zip(found, *ragged, strict=True):
        assert y == wanted
        np.testing.assert_allclose(total, 2 * x.sum() + 0.5, rtol=1e-5, atol=1e-5)


def test_lengths(ragged):
    assert lengths(ragged)[:, 0].tolist() == [len(x) for x in ragged.xs]
    assert set(lengths(ragged)[:, 1]) == {1}
