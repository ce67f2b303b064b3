"""Anomalies: what the generator promises, NAB's files, scores and counts against slow loops."""

import io
import json
import math
import tarfile

import jax
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.uses.anomalies import data as source
from experiments.uses.anomalies import detection
from experiments.uses.anomalies.use import Anomalies
from experiments.uses.contract import Example, Examples
from experiments.uses.settings import Settings


def test_generated_series_are_the_same_for_a_seed_and_others_for_another():
    one, same, other = source.generate(3, count=2), source.generate(3, count=2), source.generate(4)
    assert [a.windows for a in one] == [b.windows for b in same]
    np.testing.assert_array_equal(one[1].values, same[1].values)
    assert not np.allclose(one[0].values, other[0].values)


def test_beats_repeat_but_in_the_windows():
    """One period later all is the same but for noise, unless one of the two lies in a window."""
    for one in source.generate(1, count=4):
        assert sorted(one.kinds) == sorted(source.KINDS)
        count = len(one.values)
        normal = one.values[: one.normal]
        differences = {p: np.std(normal[p:] - normal[:-p]) for p in range(15, 45)}
        period = min(differences, key=differences.get)
        assert differences[period] < 0.15
        assert min(d for p, d in differences.items() if abs(p - period) > 4) > 0.25
        wrong = np.zeros(count, bool)
        for begin, end in one.windows:
            wrong[begin:end] = True
        assert one.windows[0][0] >= one.normal
        assert len(detection.runs(wrong, apart=2 * period)) == len(source.KINDS)
        change = np.abs(one.values[period:] - one.values[:-period])
        clean = ~(wrong[period:] | wrong[:-period])
        assert change[clean].max() < 0.6
        assert np.mean(change[clean] > 0.35) < 0.01
        for begin, end in one.windows:
            assert change[begin - period : end - period].max() > 0.6
        # No value tells: what is usual where nothing is wrong is as large.
        assert np.abs(one.values[wrong]).max() < np.abs(one.values[~wrong]).max() + 0.3


def nab(folder, *, change=None, packed=False):
    """NAB in small: two files of an hour's steps; `change(name, lines)` damages them."""
    windows = {
        "realKnownCause/b.csv": [["2014-07-03 02:00:00.000000", "2014-07-03 05:00:00.000000"]],
        "realKnownCause/a.csv": [
            ["2014-07-01 03:00:00.000000", "2014-07-01 09:00:00.000000"],
            ["2014-07-05 00:00:00.000000", "2014-07-05 01:00:00.000000"],
        ],
    }
    (folder / "combined_windows.json").write_text(json.dumps(windows))
    content = {}
    for name in windows:
        times = [f"2014-07-{1 + hour // 24:02} {hour % 24:02}:00:00" for hour in range(200)]
        lines = ["timestamp,value", *(f"{time},{row / 2}" for row, time in enumerate(times))]
        content[name] = "\n".join(change(name, lines) if change else lines).encode()
    if packed:
        with tarfile.open(folder / "data.tar.xz", "w:xz") as archive:
            for name, text in content.items():
                member = tarfile.TarInfo(f"data/{name}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
    else:
        (folder / "data" / "realKnownCause").mkdir(parents=True, exist_ok=True)
        for name, text in content.items():
            (folder / "data" / name).write_bytes(text)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_nab_is_read_packed_or_not(tmp_path, packed):
    nab(tmp_path, packed=packed)
    series = source.read(tmp_path / "data.tar.xz" if packed else tmp_path)
    assert [one.name for one in series] == ["a", "b"]
    np.testing.assert_array_equal(series[0].values, np.arange(200) / 2)
    assert series[0].normal == 30
    assert series[0].windows == ((96, 98),)  # the other began where all counts as normal
    assert series[1].windows == ((50, 54),)
    # 1 July 2014 was a Tuesday.
    np.testing.assert_array_equal(series[0].clock[:3], 24 * 3600 + 3600 * np.arange(3))
    assert series[0].clock.max() < 7 * 24 * 3600


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, "time,value", "must begin with the line timestamp,value"),
        (7, "2014-07-01 06:00:00,nan", "line 8: nan is no finite number"),
        (7, "2014-07-01 06:00:00,", "line 8: no time and number"),
        (7, "yesterday,3", "line 8: no time and number"),
        (7, "2014-07-01 06:00", "line 8: no time and number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, text, message):
    def change(name, lines):
        return [*lines[:line], text, *lines[line + 1 :]] if name.endswith("b.csv") else lines

    with pytest.raises(UserError, match=f"realKnownCause/b.csv.*{message}"):
        source.read(nab(tmp_path, change=change))


def test_what_is_missing_or_cut_short_is_named(tmp_path):
    with pytest.raises(UserError, match=r"combined_windows\.json"):
        source.read(tmp_path)
    nab(tmp_path, packed=True)
    whole = (tmp_path / "data.tar.xz").read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + bytes(99) + whole[middle + 99 :], b"no tar"):
        (tmp_path / "data.tar.xz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"cannot read .*data.tar.xz"):
            source.read(tmp_path)
    nab(tmp_path, change=lambda name, lines: lines[:100])
    with pytest.raises(UserError, match="99 rows, fewer than 200"):
        source.read(tmp_path)
    nab(tmp_path)
    for text, message in [("{}", "no windows of"), ("[]", "no object"), ("{", "not valid JSON")]:
        (tmp_path / "combined_windows.json").write_text(text)
        with pytest.raises(UserError, match=message):
            source.read(tmp_path)


def test_surprise_is_a_gaussian_of_all_forecasts_of_a_row():
    random = np.random.default_rng(0)
    z, forecasts, fitted = random.normal(size=60), random.normal(size=(60, 3)), np.arange(60) < 40
    errors = [[z[t] - forecasts[t - j, j - 1] for j in (1, 2, 3)] for t in range(3, 60)]
    sample = np.array(errors[:37])
    mean = sample.mean(0)
    covariance = sum(np.outer(e - mean, e - mean) for e in sample) / len(sample)
    covariance += (1e-3 * np.trace(covariance) / 3 + 1e-9) * np.eye(3)
    expected = []
    for error in errors:
        distance = (error - mean) @ np.linalg.inv(covariance) @ (error - mean)
        volume = (2 * math.pi) ** 3 * np.linalg.det(covariance)
        expected.append(0.5 * math.log(volume) + 0.5 * distance)
    scores = detection.surprise(z, forecasts, fitted)
    np.testing.assert_allclose(scores[3:], expected, rtol=1e-10)
    assert (scores[:3] == min(expected)).all()


def test_runs_join_what_is_close():
    where = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool)
    assert detection.runs(where) == [(1, 3), (4, 5), (8, 9)]
    assert detection.runs(where, apart=2) == [(1, 5), (8, 9)]
    assert detection.runs(where, apart=4) == [(1, 9)]
    assert detection.runs(~np.ones(4, bool)) == []


def test_measures_count_windows_alarms_and_pairs():
    """Forecasts that are right but at chosen rows, and all counts by loops."""
    random = np.random.default_rng(0)
    count = 400
    z = random.normal(size=count)
    y = np.zeros((count, 2), int)
    y[100:150, 0], y[150:, 0] = detection.VALIDATION, detection.TEST
    y[200:210, 1] = y[300:320, 1] = 1
    noise = 0.1 * random.normal(size=count)
    for row in (205, 240, 245, 280):  # in the first window; one false event of two; another
        noise[row] = 9.0
    forecasts = np.zeros((count, detection.AHEAD))
    for step in range(1, detection.AHEAD + 1):
        forecasts[:-step, step - 1] = (z + noise)[step:]
    examples = Examples([z[:, None]], [y])
    found = detection.measures([forecasts], examples)
    scores, threshold = detection.detect([forecasts], examples)[0]
    outside = [t for t in range(150, count) if not y[t, 1]]
    alarms = [t for t in range(150, count) if scores[t] > threshold]
    assert {205, 240, 245, 280} <= set(alarms)
    assert found["windows found"] == (0.5 if max(t for t in alarms if t < 321) < 300 else 1)
    false = 1000 * sum(t in outside for t in alarms) / len(outside)
    assert math.isclose(found["false alarms a 1,000"], false)
    squares = [noise[t] ** 2 for t in outside]
    assert math.isclose(found["rmse"], math.sqrt(sum(squares) / len(squares)), rel_tol=1e-6)
    inside = [t for t in range(150, count) if y[t, 1]]
    pairs = [
        (scores[i] > scores[o]) + 0.5 * (scores[i] == scores[o]) for i in inside for o in outside
    ]
    assert math.isclose(found["auc"], sum(pairs) / len(pairs))
    events = []
    for t in alarms:
        if events and t - events[-1][-1] <= detection.EVENT:
            events[-1].append(t)
        else:
            events.append([t])
    precision = sum(any(y[t, 1] for t in event) for event in events) / len(events)
    recall = found["windows found"]
    assert math.isclose(found["f1"], 2 * precision * recall / (precision + recall))
    only = Examples([z[:150, None]], [y[:150]])
    assert list(detection.measures([forecasts[:150]], only)) == ["rmse"]  # no label is looked at


def test_naive_forecasts():
    x = np.arange(30.0)[:, None] ** 2
    assert (detection.last_value(x, x)[7] == 49).all()
    average = detection.moving_average(x, x)
    assert average.shape == (30, detection.AHEAD)
    assert math.isclose(average[20, 3], np.mean(x[11:21, 0]))
    assert math.isclose(average[1, 0], 0.1)
    rows = np.arange(200)
    noise = np.random.default_rng(0).normal(0, 0.01, 200)
    beats = (np.sin(2 * np.pi * rows / 15) + noise)[:, None]
    belongs = np.repeat([[detection.TRAIN, 0], [detection.TEST, 0]], 100, axis=0)
    before = detection.period_before(beats, belongs)
    np.testing.assert_array_equal(before[150], beats[150 + 1 - 15 : 150 + 9 - 15, 0])
    assert (before[3, :5] == beats[3]).all()  # nothing is known of a period before


def test_the_loss_counts_every_forecast_whose_value_is_known():
    series = source.generate(0, count=2)
    use = Anomalies(Settings(features=3), series)
    params = use.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    x[:, 5] = 1
    example = Example(x, 10, np.zeros((12, 2), np.int32), 10)
    forecasts = jax.jit(use._forecasts)(params, example)
    total, terms = 0.0, 0
    for t in range(10):
        for step in range(1, detection.AHEAD + 1):
            if t + step < 10:
                total += float(forecasts[t, step - 1] - x[t + step, 0]) ** 2
                terms += 1
    loss, counted = jax.jit(use.loss)(params, example)
    assert counted == terms
    np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_splits_and_scale_see_only_what_came_before():
    data = Anomalies.load(None, seed=0)
    for number, one in enumerate(data.about):
        x, y = data.test.xs[number], data.test.ys[number]
        trained = one.normal * 2 // 3
        np.testing.assert_allclose(x[:trained, 0].mean(), 0, atol=1e-5)
        np.testing.assert_allclose(x[:trained, 0].std(), 1, atol=1e-5)
        assert [int(np.sum(y[:, 0] == part)) for part in range(3)] == [
            trained, one.normal - trained, len(one.values) - one.normal
        ]  # fmt: skip
        assert len(detection.runs(y[:, 1] == 1)) == len(one.windows)
        np.testing.assert_array_equal(data.val.xs[number], x[: one.normal])
    chunks = [x for x, y in zip(*data.train, strict=True) if x[0, 5] == 0]
    assert max(map(len, chunks)) == 128
    whole = data.test.xs[0][:, 0]
    assert all(
        np.array_equal(c[:, 0], whole[64 * i : 64 * i + len(c)]) for i, c in enumerate(chunks)
    )
    assert not any((y != 0).any() for y in data.train.ys)
