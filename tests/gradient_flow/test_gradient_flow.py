"""The experiment's numbers against Jacobians by hand, and its command in a tiny run."""

import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from experiments.common.errors import UserError
from experiments.common.files import claimed
from experiments.gradient_flow import __main__ as command
from experiments.gradient_flow import run as runner
from experiments.gradient_flow.measure import INPUTS, Flow, measure, unit_noise
from experiments.gradient_flow.networks import chrono_gru, networks
from experiments.gradient_flow.options import Options
from experiments.gradient_flow.run import flow_table
from tests.support import x64

T = 5


@pytest.mark.parametrize("name", ["Elman, Gaussian, radius 2", "LSTM, chrono"])
@x64()
def test_ends_are_those_of_the_jacobians_product(name):
    """The same draws as `measure` takes, and ds_t/ds_{t-1} of every step multiplied by hand."""
    cell = networks(4, longest=9)[name]
    bound = 0.5
    found = measure(cell, steps=T, networks=1, bound=bound, seed=3)
    keys = jax.random.split(jax.random.split(jax.random.key(3), 1)[0], 4)
    xs = jax.random.normal(keys[1], (T, INPUTS)) / math.sqrt(INPUTS)
    params = cell.init(keys[0], xs[0])
    state = cell.initial_state(params)
    noise = np.concatenate(jax.tree.leaves(unit_noise(keys[3], state)))
    np.testing.assert_allclose(np.linalg.norm(noise), 1, rtol=1e-12)
    jacobians = []
    for x in xs:
        tree = jax.jacfwd(lambda s, x=x: cell.step(params, s, x)[0])(state)
        rows = len(jax.tree.leaves(state))
        blocks = np.asarray(jax.tree.leaves(tree)).reshape(rows, rows, 4, 4)
        jacobians.append(np.block([[blocks[i, j] for j in range(rows)] for i in range(rows)]))
        state, _ = cell.step(params, state, x)
    direction = np.asarray(jax.random.normal(keys[2], (4,)))
    gradient = np.concatenate([np.zeros(len(noise) - 4), direction / np.linalg.norm(direction)])
    clipped = gradient
    growth = np.linalg.norm(noise)
    for k in range(T):
        noise = jacobians[k] @ noise
        gradient = jacobians[T - 1 - k].T @ gradient
        clipped = jacobians[T - 1 - k].T @ clipped
        clipped *= min(1, bound / np.linalg.norm(clipped))
        np.testing.assert_allclose(found.noise[k], np.linalg.norm(noise), rtol=1e-9)
        np.testing.assert_allclose(found.gradient[k], np.linalg.norm(gradient), rtol=1e-9)
        np.testing.assert_allclose(found.output[k], np.linalg.norm(gradient[-4:]), rtol=1e-9)
        np.testing.assert_allclose(found.clipped[k], np.linalg.norm(clipped), rtol=1e-9)
    assert growth == pytest.approx(1)
    above = np.append(1, found.gradient) >= 0.01
    assert found.memory == np.flatnonzero(above)[-1]
    assert math.isnan(found.saturated) == name.startswith("Elman")


@x64()
def test_medians_over_networks():
    """Of networks that keep a share p of their state at each step, each its own."""

    def init(key, x):
        return jnp.exp(-jax.random.exponential(key))

    def step(p, state, x):
        return p * state, jax.nn.sigmoid(jnp.where(p > 0.5, 9.0, 0.0) * jnp.ones(2))

    cell = rx.Cell(init, lambda p: jnp.zeros(2), step)
    found = measure(cell, steps=T, networks=5, bound=1.0, seed=0)
    keys = jax.random.split(jax.random.key(0), 5)
    shares = np.array([init(jax.random.split(key, 4)[0], None) for key in keys])
    p = np.median(shares)
    assert abs(p - shares.mean()) > 0.03
    for curve in (found.noise, found.gradient, found.output, found.clipped):
        np.testing.assert_allclose(curve, p ** np.arange(1, T + 1), rtol=1e-6)
    np.testing.assert_allclose(found.exponent, np.log(p), rtol=1e-6)
    assert found.memory == min(T, int(np.log(0.01) / np.log(p)))
    np.testing.assert_allclose(found.saturated, np.mean(shares > 0.5), rtol=1e-6)


def test_chrono_gru_keeps_as_long_as_its_bias_says():
    params = chrono_gru(200, longest=50).init(jax.random.key(0), jnp.ones(3))
    kept = np.exp(np.asarray(params.b[200:400]))
    assert kept.min() >= 1
    assert kept.max() <= 49 * (1 + 1e-6)
    assert 20 < kept.mean() < 30  # of Uniform(1, 49)
    np.testing.assert_array_equal(params.b[:200], 0)


def test_table_marks_what_is_not_there():
    flow = Flow(*[np.full(4, x) for x in (0.5, 2.0, 1.0, 0.25)], -0.1, 4, math.nan, "")
    row = flow_table({"one": flow}, bound=0.5).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "one", "0.5", "0.5", "2", "2", "1", "0.25", "-0.100", "> 4", "-"
    ]  # fmt: skip


@pytest.mark.slow
def test_command(tmp_path, monkeypatch, capsys):
    kinds = networks(8, 20)
    names = ["Elman, Gaussian, radius 2", "LSTM, chrono"]
    monkeypatch.setattr(runner, "networks", lambda *_: {name: kinds[name] for name in names})
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    output = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["gradient_flow", "--quick", "--output", str(output)])
    command.main()
    printed = capsys.readouterr().out
    path = output / "gradient_flow.json"
    saved = json.loads(path.read_text())
    assert list(saved["networks"]) == names
    for name in names:
        assert f"| {name} " in printed
        assert len(saved["networks"][name]["noise"]) == 20
        assert f"- {name}: " in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert max(saved["networks"][names[0]]["clipped"]) <= 1 + 1e-6

    # Stopped before the last kind, it goes on from there; other numbers want another folder.
    path.write_text(json.dumps(saved | {"networks": {names[0]: saved["networks"][names[0]]}}))
    measured = []

    def known(cell, **settings):
        measured.append(cell)
        return runner.from_json(saved["networks"][names[-1]])

    monkeypatch.setattr(runner, "measure", known)
    command.main()
    assert len(measured) == 1
    assert json.loads(path.read_text())["networks"] == saved["networks"]
    assert capsys.readouterr().out.splitlines()[-6:] == printed.splitlines()[-6:]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "1"])
    with pytest.raises(UserError, match=r"holds a run with other settings .seed: 0 and 1.;"):
        command.main()
    assert len(measured) == 1


def test_one_process_measures_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gradient_flow", "--quick", "--output", str(tmp_path)])
    with claimed(tmp_path), pytest.raises(UserError, match="another process is at work in"):
        command.main()


@pytest.mark.parametrize("content", ["[]", "{}", '{"settings": {"speed": 1}, "networks": {}}'])
def test_what_is_no_result_is_one_sentence(tmp_path, content):
    (path := tmp_path / "gradient_flow.json").write_text(content)
    with pytest.raises(UserError, match="holds no results of this experiment"):
        runner.resumed(path, Options())


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 2},
        {"features": 0},
        {"networks": 0},
        {"seed": -1},
        {"bound": 0.0},
        {"bound": math.inf},
    ],
)
def test_options_are_checked(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))}"):
        Options(**wrong).check()
