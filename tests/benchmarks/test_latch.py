"""One bit over many steps: every method's gradient against plain backpropagation, and a run."""

import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from experiments.benchmarks.__main__ import main
from experiments.benchmarks.latch import INPUTS, draw, make_gradient, network
from experiments.benchmarks.options import Long
from experiments.common.errors import run_main
from experiments.common.metrics import read_metrics
from tests.support import programs_on_disk, x64

T = 7


@x64()
def test_gradients_are_those_of_plain_backpropagation():
    """All in one program; the truncated ones with the state held constant before the last steps."""
    model = network(rx.elman(3))
    params = model.init(jax.random.key(0), jnp.zeros(INPUTS))
    keys, signs = jax.random.split(jax.random.key(1), 2), jnp.array([1.0, -1.0])

    def slow(params, look_back):
        def one(params, key, sign):
            state = model.initial_state(params)
            for t in range(T):
                if t == T - look_back:
                    state = jax.lax.stop_gradient(state)
                state, y = model.step(params, state, draw(key, t, sign))
            return jnp.log(1 + jnp.exp(-sign * y[0]))

        each = jax.vmap(one, in_axes=(None, 0, 0))
        return jax.value_and_grad(lambda p: jnp.mean(each(p, keys, signs)))(params)

    methods = [("lax.scan", 1), ("sqrt", 1), ("rtrl", 1), ("truncated", 4)]

    @jax.jit
    def everything(params):
        found = [make_gradient(m, model, T, k)(params, keys, signs) for m, k in methods]
        return found, slow(params, T), slow(params, 4)

    found, full, short = everything(params)
    for (method, look_back), gradient in zip(methods, found, strict=True):
        expected = short if look_back == 4 else full
        same = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-13, err_msg=method)
        jax.tree.map(same, gradient, expected)
    assert np.abs(full[1][0].w_h - short[1][0].w_h).max() > 1e-4


def test_the_sign_is_seen_once_and_noise_differs():
    xs = jax.vmap(draw, in_axes=(None, 0, None))(jax.random.key(0), jnp.arange(9), -1.0)
    assert xs.shape == (9, INPUTS)
    assert float(xs[0, 0]) == -10
    assert np.abs(xs[1:]).max() < 1
    assert len(np.unique(xs)) == 9


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    def call(*options):
        command = ("long", "--folder", tmp_path / "run", "--steps", 64, "--features", 2)
        arguments = map(str, (*command, "--batch", 2, *options))
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with programs_on_disk(tmp_path / "programs"), pytest.raises(SystemExit) as stopped:
            run_main(main)
        return int(stopped.value.code or 0), *capsys.readouterr()

    return call


def test_a_run_keeps_to_its_budget_and_goes_on(cli, tmp_path):
    code, _, err = cli("--budget", 1e-4)
    assert code == 2
    assert "--budget: checkpoint_for: no checkpoint makes the step fit into 104 bytes" in err
    code, out, err = cli("--budget", 0.016, "--updates", 2)
    assert code == 0, err
    assert re.search(r"^None .* too large$", out, re.M), out
    assert re.search(r"^'(sqrt|recursive)' .* chosen$", out, re.M), out
    assert re.search(r"\| updates +\| +2 of 2 sequences \|", out), out
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    entries = read_metrics(tmp_path / "run")
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2]
    code, _, err = cli("--budget", 0.016, "--updates", 3)
    assert code == 2
    assert "holds a run with other settings (updates: 2 and 3)" in err


@pytest.mark.parametrize(("name", "value"), [("steps", 2), ("updates", 25), ("budget", 0.0)])
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Long(**{name: value})
