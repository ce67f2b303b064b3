"""Forecasts: what the generator promises, what tables are read, every measure against a loop."""

import gzip
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.uses.contract import Example, Examples
from experiments.uses.forecasting import data as source
from experiments.uses.forecasting import windows
from experiments.uses.forecasting.use import PATHS, Forecasting, gaussian_nats
from experiments.uses.settings import Settings

ROWS = [100 + 3 * row + 10 * (row % 4 == 0) for row in range(48)]


def test_generated_series_are_the_same_for_a_seed_and_others_for_another():
    one, same, other = source.generate(3), source.generate(3), source.generate(4)
    np.testing.assert_array_equal(one.values, same.values)
    np.testing.assert_array_equal(one.expected, same.expected)
    assert not np.allclose(one.values, other.values)


def test_what_is_expected_changes_only_by_what_the_next_row_brings():
    """A mean given the past is a martingale, and here linear: one weight for each step ahead."""
    made = source.generate(0, series=3, horizon=6)
    assert made.expected is not None
    new = made.values[1:] - made.expected[:-1, 0]  # the one error that nobody could foresee
    for column in range(3):
        surprise = new[:, column]
        learnt = made.expected[1:, :-1, column] - made.expected[:-1, 1:, column]
        weights = learnt.T @ surprise / (surprise @ surprise)
        scale = np.abs(surprise).max()
        np.testing.assert_allclose(learnt, surprise[:, None] * weights, atol=1e-9 * scale)
        assert np.abs(weights[:2]).max() > 0.1  # the noise is no white one
        lagged = [np.corrcoef(surprise[lag:], surprise[:-lag])[0, 1] for lag in (1, 2, 3)]
        assert np.abs(lagged).max() < 4 / np.sqrt(len(surprise))
        assert abs(surprise.mean()) < 4 * surprise.std() / np.sqrt(len(surprise))


@pytest.mark.parametrize("season", [5, 12])
def test_a_season_is_found_where_there_is_one_and_none_in_a_random_walk(season):
    random = np.random.default_rng(season)
    rows = np.arange(400)
    values = 0.05 * rows + np.sin(2 * np.pi * rows / season) + 0.2 * random.normal(size=400)
    assert source.season_of(values, 12) == season
    assert source.season_of(np.cumsum(random.normal(size=400)), 12) == 1


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ('"Month","Passengers"', '"1949-{row:02}",{value}'),
        ("year;volume", "{row};{value}.0"),
        (None, "1990-01-{row:02}\t{value}"),
        (None, "{row} {value}"),
        ("x", "{value}"),
        (None, "{value}"),
    ],
)
def test_tables_are_read_with_or_without_header_and_time(tmp_path, header, line):
    lines = [line.format(row=row, value=value) for row, value in enumerate(ROWS, 1)]
    text = "\ufeff" + "\r\n".join([*([header] if header else []), *lines])
    (tmp_path / "table.csv").write_bytes(text.encode())
    (packed := tmp_path / "packed").mkdir()
    (packed / "table.txt.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / "table.csv", packed / "table.txt.gz", packed):
        made = source.read(path)
        np.testing.assert_array_equal(made.values, np.array(ROWS, float)[:, None])
        assert made.expected is None
        if header:
            assert made.names == (header.replace('"', "").replace(";", ",").split(",")[-1],)


def test_an_empty_field_takes_the_value_above_and_a_warning_says_so(tmp_path, capsys):
    path = tmp_path / "table.csv"
    lines = [f"{value},{-value}" for value in ROWS]
    lines[7] = f"{ROWS[7]},"
    path.write_text("\n".join(["a,b", *lines]))
    values = source.read(path).values
    assert values[7, 1] == -ROWS[6]
    assert values[7, 0] == ROWS[7]
    assert "1 empty fields" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (5, "nan,1", r"line 7, column 1 \(a\): 'nan' is no finite number"),
        (5, "1,inf", r"line 7, column 2 \(b\): 'inf'"),
        (5, "1,two", r"line 7, column 2 \(b\): 'two'"),
        (0, ",1", r"line 1, column 1 \(column 1\): ''"),
        (47, "1", "line 48: 1 columns, where the first row has 2"),
        (3, '1,"2', "quotation mark|columns"),
    ],
)
def test_a_broken_row_is_named(tmp_path, number, line, message):
    path = tmp_path / "table.csv"
    lines = [f"{value},{-value}" for value in ROWS]
    lines[number] = line
    path.write_text("\n".join(["a,b", *lines] if number == 5 else lines))
    with pytest.raises(UserError, match=message):
        source.read(path)


def test_broken_files_are_one_sentence(tmp_path):
    (short := tmp_path / "short.csv").write_text("a\n" + "1\n" * 35)
    (cut := tmp_path / "cut.gz").write_bytes(gzip.compress(b"1\n" * 5000)[:-12])
    (binary := tmp_path / "table.txt").write_bytes(b"\xff\xfe\x00" * 50)
    (holes := tmp_path / "holes.csv").write_text("a,b\n" + "1,\n2,3\n" * 30)
    for path, message in [
        (short, "35 rows of numbers; at least 36"),
        (cut, "cut short"),
        (binary, "cannot read"),
        (holes, "line 2, column 2"),
        (tmp_path / "none.csv", "cannot read"),
        (tmp_path, "must hold one .csv, .txt or .gz"),
    ]:
        with pytest.raises(UserError, match=message):
            source.read(path)


def test_windows_meet_no_row_of_a_later_split_and_know_only_the_past(tmp_path):
    values = np.random.default_rng(0).normal(size=(240, 2)).cumsum(0)
    path = tmp_path / "table.csv"
    path.write_text("\n".join(f"{a!r},{b!r}" for a, b in values.tolist()))
    data = Forecasting.load(path, seed=0)
    about, limits = data.about, {"train": (0, 144), "val": (144, 192), "test": (192, 240)}
    np.testing.assert_allclose(about.offsets, values[:144].mean(0))
    np.testing.assert_allclose(about.scales, np.abs(np.diff(values[:144], axis=0)).mean(0))
    for split, (begin, end) in limits.items():
        for x, y in zip(*getattr(data, split), strict=True):
            rows, column = np.r_[x[:, windows.ROW], y[:, windows.ROW]].astype(int), int(x[0, 2])
            assert (np.diff(rows) == 1).all()
            assert begin <= y[0, windows.ROW]
            assert y[-1, windows.ROW] < end
            z = (values[rows, column] - about.offsets[column]) / about.scales[column]
            np.testing.assert_allclose(np.r_[x[:, 0], y[:, 0]], z, rtol=1e-5, atol=1e-5)
            assert (y[:, windows.BEFORE] == x[-1, windows.VALUE]).all()  # no season in a walk


def test_the_value_one_season_before_is_the_last_such_that_is_known():
    z = np.arange(60.0)
    about = windows.About(("a",), np.array([4]), np.zeros(1), np.ones(1))
    made = windows.windows(source.Table(z[:, None], ("a",)), about, 6, range(30, 31), 10)
    np.testing.assert_array_equal(made.ys[0][:, 0], [30, 31, 32, 33, 34, 35])
    np.testing.assert_array_equal(made.ys[0][:, 1], [26, 27, 28, 29, 26, 27])
    np.testing.assert_array_equal(made.xs[0][:, 1], np.arange(18, 30) - 4)


def test_measures_are_those_of_a_slow_loop():
    random = np.random.default_rng(1)
    about = windows.About(
        ("a", "b"), np.ones(2, int), np.array([5.0, -70.0]), np.array([0.5, 30.0])
    )
    xs, ys, forecasts = [], [], []
    for column in (0, 1):
        for row in range(5):
            xs.append(np.array([[0, 0, column, row]], float))
            ys.append(np.c_[random.normal(size=(7, 1)), np.zeros((7, 3))])
            forecasts.append(random.normal(size=7))
    found = windows.measures(forecasts, Examples(xs, ys), about)
    errors, scaled, truth = [], [], {3: [], 6: []}
    for x, y, forecast in zip(xs, ys, forecasts, strict=True):
        for step in range(7):
            column = int(x[0, 2])
            error = (forecast[step] - y[step, 0]) * about.scales[column]
            errors.append(error)
            scaled.append(abs(error) / about.scales[column])
            if step + 1 in truth:
                value = about.offsets[column] + about.scales[column] * y[step, 0]
                truth[step + 1].append((column, value, value + error))
    assert math.isclose(found["mae"], sum(map(abs, errors)) / len(errors))
    assert math.isclose(found["rmse"], math.sqrt(sum(e * e for e in errors) / len(errors)))
    assert math.isclose(found["mase"], sum(scaled) / len(scaled))
    steps = windows.by_step(forecasts, Examples(xs, ys), about)
    np.testing.assert_allclose(steps["MASE"].mean(), found["mase"])
    for step, rows in truth.items():
        mean = sum(value for _, value, _ in rows) / len(rows)
        off = sum((forecast - value) ** 2 for _, value, forecast in rows)
        rse = math.sqrt(off / sum((value - mean) ** 2 for _, value, _ in rows))
        assert math.isclose(steps["RSE"][step - 1], rse)
        both = [np.corrcoef([r[1:] for r in rows if r[0] == c], rowvar=False)[0, 1] for c in (0, 1)]
        assert math.isclose(steps["CORR"][step - 1], sum(both) / 2)


def test_gaussian_nats_integrate_to_one_and_are_least_at_the_mean():
    values = np.linspace(-30, 34, 20001)
    with jax.enable_x64(True):
        nats = np.asarray(gaussian_nats(values, 2.0, 3.0))
    assert math.isclose(np.exp(-nats).sum() * (values[1] - values[0]), 1, rel_tol=1e-9)
    assert math.isclose(values[nats.argmin()], 2, abs_tol=0.01)
    assert math.isclose(nats[-1], 0.5 * math.log(2 * math.pi * 9) + 32**2 / 18, rel_tol=1e-9)


@pytest.fixture(scope="module")
def tiny():
    about = windows.About(("a", "b"), np.array([4, 1]), np.array([1.0, 2.0]), np.ones(2))
    use = Forecasting(Settings(features=3, dropout=0.5), about)
    random = np.random.default_rng(2)
    x = random.normal(size=(8, 4)).astype(np.float32)
    x[:, 2], x[:, 3] = 1, np.arange(8)
    y = random.normal(size=(4, 4)).astype(np.float32)
    return use, use.init(jax.random.key(0)), Example(x, 8, y, 4)


def test_the_loss_feeds_the_true_values_one_by_one(tiny):
    use, params, example = tiny
    x, _, y, _ = example
    scale = 0.1 + np.abs(np.diff(x[:, 0])).mean()
    everything = np.r_[x, y]
    state, total = use.step.initial_state((params[0], params[2])), 0.0
    step = jax.jit(use.step.step)
    for row in range(1, 12):
        before, season = everything[row - 1, 0], everything[row, 1]
        inputs = [(before - x[-1, 0]) / scale, (season - before) / scale, np.log(scale), 0, 1]
        state, out = step((params[0], params[2]), state, jnp.array(inputs, jnp.float32))
        if row >= 8:
            mean = before + scale * float(out[0])
            deviation = scale * (math.log1p(math.exp(float(out[1]))) + 0.01)
            total += 0.5 * math.log(2 * math.pi) + math.log(deviation)
            total += 0.5 * ((everything[row, 0] - mean) / deviation) ** 2
    loss, terms = jax.jit(use.loss)(params, example)
    assert terms == 4
    np.testing.assert_allclose(loss, total, rtol=1e-4)


def test_a_forecast_does_not_see_what_it_should_foretell(tiny):
    use, params, example = tiny
    forecast = jax.jit(use._forecast)
    one = forecast(params, example)
    other = forecast(params, example._replace(y=example.y + np.array([9, 0, 0, 0], np.float32)))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.interval, other.interval)
    assert (one.interval[0] < one.mean).all()
    assert (one.mean < one.interval[1]).all()
    assert PATHS % 2 == 0  # in pairs
    later = example._replace(x=example.x + np.array([0, 0, 0, 1], np.float32))
    assert not np.allclose(one.interval, forecast(params, later).interval)  # noise of its own
