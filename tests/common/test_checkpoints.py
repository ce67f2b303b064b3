"""Checkpoints come back bit for bit, and damage or a full disk never costs an earlier one."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint
import pytest

from experiments.common import checkpoint_files
from experiments.common.checkpoints import Checkpoints
from experiments.common.errors import UserError, run_main


class Params(NamedTuple):
    w: jax.Array
    layers: list


def _state(seed=0, width=3):
    rng = np.random.default_rng(seed)
    params = Params(
        w=jnp.asarray(rng.normal(size=(4, width)), jnp.float32),
        layers=[
            {"low": jnp.asarray(rng.normal(size=5), jnp.bfloat16), "none": None},
            jnp.asarray([np.nan, -0.0, np.inf, 1e-42], jnp.float32),
        ],
    )
    return {
        "params": params,
        "opt_state": optax.adam(1e-3).init(params),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 3),
        "raw": jax.random.PRNGKey(seed),
        "step": seed,
        "rate": 0.1 + seed,
        "numpy": (rng.normal(size=()), np.arange(seed, seed + 3, dtype=np.int8)),
        "eight": jnp.asarray(rng.normal(size=3), ml_dtypes.float8_e4m3fn),
        "flag": jnp.array(True),
        "empty": jnp.zeros((0, 2)),
    }


def _assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if isinstance(e, jax.Array) and jnp.issubdtype(e.dtype, jax.dtypes.prng_key):
            assert a.dtype == e.dtype
            a, e = jax.random.key_data(a), jax.random.key_data(e)
        elif isinstance(e, int | float):
            assert type(a) is type(e)
        a, e = np.asarray(a), np.asarray(e)
        assert (a.dtype, a.shape, a.tobytes()) == (e.dtype, e.shape, e.tobytes())


def _damage(folder, step, how="truncate"):
    path = folder / f"{step:08d}"
    file = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = file.read_bytes()
    if how == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    elif how == "remove":
        file.unlink()
    elif how == "info":
        (path / "info.json").write_text('{"step": 3, "me')
    return file


def test_round_trip_is_exact_to_the_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.restore_latest(_state()) is None
    data = {"epoch": 2, "position": [1, 2.5, None, "ä"]}
    checkpoints.save(7, _state(1), data=data, metric=0.1)
    saved = checkpoints.restore_latest(_state(0))
    assert saved is not None
    assert (saved.step, saved.data, saved.metric) == (7, data, 0.1)
    _assert_same(saved.state, _state(1))

    abstract = jax.eval_shape(lambda: _state(0)["params"])
    _assert_same(checkpoints.restore_best(abstract, part="params").state, _state(1)["params"])
    key = jax.eval_shape(lambda: jax.random.key(0))
    _assert_same(checkpoints.restore_best(key, part="key").state, jax.random.key(1))


def test_placement_follows_the_template(tmp_path):
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.arange(4.0), "y": jnp.ones(())})
    template = {"x": jax.device_put(jnp.zeros(4), rows), "y": jnp.zeros(())}
    saved = checkpoints.restore_latest(template)
    assert saved is not None
    assert saved.state["x"].sharding == rows
    jax.jit(jnp.multiply)(saved.state["x"], saved.state["y"])  # y may still move: no error


def test_keeps_the_latest_and_the_best(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path, keep_latest=2, keep_best=2)
    for step, metric in enumerate([0.3, 0.9, float("nan"), 0.7, 0.9, None, 0.1], start=1):
        checkpoints.save(step, {"params": jnp.full(3, step * 1.0)}, metric=metric)
    assert checkpoints.steps() == [2, 5, 6, 7]
    assert checkpoints.best_steps() == [2, 5, 7]
    template = {"params": jnp.zeros(3)}
    assert checkpoints.restore_best(template).step == 2
    mean = checkpoints.average(jnp.zeros(3), best=2, part="params")
    assert (mean.step, mean.metric) == (2, 0.9)
    np.testing.assert_array_equal(mean.state, np.full(3, 3.5))
    assert capfd.readouterr().err == ""
    np.testing.assert_array_equal(checkpoints.average(template, last=9).state["params"], 5.0)
    assert f"9 checkpoints were to be averaged, and {tmp_path} has 4." in capfd.readouterr().err
    lowest = Checkpoints(tmp_path, higher_is_better=False)
    assert lowest.restore_best(template).step == 7
    checkpoints.save(7, {"params": jnp.full(3, 8.0)}, metric=2.0)  # replaces
    np.testing.assert_array_equal(checkpoints.restore_best(template).state["params"], 8.0)


@pytest.mark.parametrize("how", ["truncate", "flip", "remove", "info"])
def test_damage_falls_back_with_a_warning_that_names_the_file(tmp_path, capfd, how):
    checkpoints = Checkpoints(tmp_path, keep_latest=3)
    for step in (1, 2, 3):
        checkpoints.save(step, {"x": jnp.arange(100.0) + step}, metric=step)
    file = _damage(tmp_path, 3, how)
    template = {"x": jnp.zeros(100)}
    for restore in (checkpoints.restore_latest, checkpoints.restore_best):
        saved = restore(template)
        assert saved is not None
        assert saved.step == 2
        np.testing.assert_array_equal(saved.state["x"], np.arange(100.0) + 2)
    said = capfd.readouterr().err
    assert said.count("\n") == said.count("warning: ") > 0
    assert ("info.json" if how == "info" else file.name) in said
    checkpoints.save(3, {"x": jnp.arange(100.0) + 3})
    saved = checkpoints.restore_latest(template)
    assert saved is not None
    assert saved.step == 3

    for step in (1, 2, 3):
        _damage(tmp_path, step)
    with pytest.raises(UserError, match="no intact checkpoint is left in"):
        checkpoints.restore_latest(template)


def test_other_models_and_missing_checkpoints_are_told_apart(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match="no checkpoint to choose from"):
        checkpoints.restore_best(_state())
    checkpoints.save(1, _state())
    with pytest.raises(UserError, match="no checkpoint to choose from"):
        checkpoints.restore_best(_state())  # saved without a metric
    with pytest.raises(UserError, match=r"/w is float32\[4, 3\] there and float32\[4, 9\]"):
        checkpoints.restore_latest(_state(width=9))
    with pytest.raises(UserError, match="it lacks extra"):
        checkpoints.restore_latest({**_state(), "extra": 1})
    with pytest.raises(UserError, match="it has, and should not, step"):
        checkpoints.restore_latest({k: v for k, v in _state().items() if k != "step"})
    with pytest.raises(UserError, match=r"key is key<fry>\[2\] there and key<rbg>\[4\] here"):
        checkpoints.restore_latest({**_state(), "key": jax.random.key(0, impl="rbg")})


def test_wrong_arguments_teach(tmp_path):
    with pytest.raises(ValueError, match="keep_latest must be at least 1"):
        Checkpoints(tmp_path, keep_latest=0)
    with pytest.raises(ValueError, match="exactly one of last and best"):
        Checkpoints(tmp_path).average({}, last=1, best=1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        Checkpoints(tmp_path).save(1, {}, data={"x": object()})
    assert Checkpoints(tmp_path).steps() == []


def test_full_disk_is_one_sentence_and_costs_no_earlier_checkpoint(tmp_path, capfd):
    resource = pytest.importorskip("resource")
    checkpoints = Checkpoints(tmp_path)
    small, large = ({"x": np.random.default_rng(0).normal(size=n)} for n in (10, 400_000))
    checkpoints.save(1, small)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # no file above 1 MB
    try:
        with pytest.raises(SystemExit):
            run_main(lambda: checkpoints.save(2, large))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capfd.readouterr().err
    assert said.startswith(f"error: cannot save the checkpoint of step 2 in {tmp_path}: "), said
    assert said.endswith("file too large; earlier checkpoints are untouched.\n"), said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    saved = checkpoints.restore_latest(small)
    assert saved is not None
    _assert_same(saved.state, small)
    checkpoints.save(2, large)  # there is room again
    assert checkpoints.steps() == [1, 2]


def test_a_disk_with_too_little_room_is_not_written_to(tmp_path, monkeypatch, capfd):
    """Orbax, where its writes fail, prints pages from other threads."""
    checkpoints = Checkpoints(tmp_path)
    state = {str(i): np.random.default_rng(i).normal(size=1000) for i in range(30)}
    checkpoints.save(1, state)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=8 * 30_000))
    monkeypatch.setattr(orbax.checkpoint, "Checkpointer", None)
    with pytest.raises(UserError, match="no space left on device; earlier checkpoints are unto"):
        checkpoints.save(2, state)
    assert capfd.readouterr().err == ""
    assert checkpoints.steps() == [1]
    assert not list(tmp_path.glob(".saving-*"))


def test_what_cannot_be_read_or_replaced_costs_nothing_else(tmp_path, monkeypatch, capfd):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": np.arange(4.0) + step})

    def unreadable(file):
        if "00000002" in file.parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return checksum(file)

    checksum = checkpoint_files._checksum
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "_checksum", unreadable)
        assert checkpoints.restore_latest({"x": np.zeros(4)}).step == 1
    assert "Input/output error. Passing over it" in capfd.readouterr().err

    def fails_at_last(source, target):
        if source.name == ".saving-2":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    rename = os.rename
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fails_at_last)
        with pytest.raises(UserError, match="earlier checkpoints are untouched"):
            checkpoints.save(2, {"x": np.zeros(4)})
    saved = checkpoints.restore_latest({"x": np.zeros(4)})
    assert saved.step == 2
    np.testing.assert_array_equal(saved.state["x"], np.arange(4.0) + 2)


_SAVE_FOREVER = """
import sys, numpy as np
from experiments.common.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, {"x": np.arange(10.0)})
print("saved", flush=True)
for step in range(2, 10_000):
    checkpoints.save(step, {"x": np.random.default_rng(0).normal(size=3_000_000)})
"""


def test_killed_while_saving_leaves_the_earlier_checkpoint(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _SAVE_FOREVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".saving-*/leaves*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    checkpoints = Checkpoints(tmp_path)
    step = checkpoints.steps()[-1]
    template = {"x": np.zeros(10 if step == 1 else 3_000_000)}
    saved = checkpoints.restore_latest(template)
    assert saved is not None
    assert saved.step == step
    checkpoints.save(step + 1, template)
    assert not list(tmp_path.glob(".saving-*"))
