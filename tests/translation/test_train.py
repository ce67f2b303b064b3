"""Training goes on bit for bit wherever it was killed, and says in a sentence why it stops."""

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import checkpoints
from experiments.common.checkpoint_files import read_arrays, read_info
from experiments.common.errors import UserError
from experiments.common.metrics import FILE, MetricsLog, read_metrics
from experiments.translation import train as training
from experiments.translation.train import train

STEPS, EPOCH = 15, 5


class Killed(BaseException):
    """As SIGKILL, but for this process."""


def killed_after(step):
    """`MetricsLog.log`, after which nothing happens any more once `step` was written."""
    log = MetricsLog.log

    def log_and_die(self, number, values):
        log(self, number, values)
        if number == step:
            raise Killed

    return log_and_die


def last_state(folder):
    path = max((folder / "checkpoints").iterdir())
    info = read_info(path)
    return info["step"], read_arrays(path, info)


def same_run(one, other):
    """The whole curve and the last state, bit for bit."""
    assert read_metrics(one) == read_metrics(other)
    (step, arrays), (other_step, others) = last_state(one), last_state(other)
    assert step == other_step
    assert set(arrays) == set(others)
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)


def test_a_run_learns_and_leaves_its_curve(trained, config):
    entries = read_metrics(trained.path)
    assert [e["step"] for e in entries if "loss" in e] == list(range(1, STEPS + 1))
    epochs = [e for e in entries if "val_loss" in e]
    assert [(e["step"], e["epoch"]) for e in epochs] == [(EPOCH * n, n) for n in (1, 2, 3)]
    assert epochs[2]["val_loss"] < epochs[0]["val_loss"] < np.log(config.data.vocabulary)
    assert last_state(trained.path)[0] == STEPS


@pytest.mark.parametrize(
    ("bpe_dropout", "save_seconds"),
    [(0.0, 0.0), pytest.param(0.2, 1e6, marks=pytest.mark.slow)],
)
def test_killed_anywhere_and_resumed_is_the_uninterrupted_run(
    config, trained, tmp_path, monkeypatch, bpe_dropout, save_seconds
):
    """Saved each step: killed between a step and its checkpoint. Or saved each epoch."""
    data = dataclasses.replace(config.data, bpe_dropout=bpe_dropout)
    config = dataclasses.replace(config, data=data, save_seconds=save_seconds)
    whole = trained.path if not bpe_dropout else train(config, tmp_path / "whole").path
    for step in (1, 4, 5, 8, 15):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "log", killed_after(step))
            with pytest.raises(Killed):
                train(config, tmp_path / "killed")
    train(config, tmp_path / "killed")
    same_run(tmp_path / "killed", whole)


def test_a_full_disk_is_one_sentence_and_costs_no_earlier_checkpoint(
    config, trained, tmp_path, monkeypatch
):
    write = checkpoints.write_checkpoint

    def full(path, arrays, info):
        if info["step"] == 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, arrays, info)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checkpoint", full)
        with pytest.raises(UserError, match=r"step 7 .*no space left on device; earlier checkp"):
            train(config, tmp_path)
    assert last_state(tmp_path)[0] == 6
    train(config, tmp_path)
    same_run(tmp_path, trained.path)


def test_a_damaged_checkpoint_is_passed_over(config, trained, tmp_path, capsys):
    shutil.copytree(trained.path, tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    files = [path for path in (newest / "leaves").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])
    train(config, tmp_path / "run")
    same_run(tmp_path / "run", trained.path)
    assert "is damaged" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused(config, trained):
    before = (trained.path / FILE).read_bytes()
    other = dataclasses.replace(config, epochs=4, learning_rate=0.5)
    with pytest.raises(UserError, match=r"epochs: 3 and 4; learning_rate: 0.01 and 0.5"):
        train(other, trained.path)
    assert (trained.path / FILE).read_bytes() == before


def test_stops_early_and_stays_stopped(config, compiled_once, tmp_path):
    config = dataclasses.replace(config, learning_rate=1e-9, patience=1, epochs=4)
    train(config, tmp_path)
    entries = read_metrics(tmp_path)
    assert entries[-1]["epoch"] == 2
    train(config, tmp_path)
    assert read_metrics(tmp_path) == entries


def test_divergence_is_one_sentence(config, compiled_once, tmp_path, monkeypatch):
    def lost(*args):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), init(*args))

    init = training.init_params
    monkeypatch.setattr(training, "init_params", lost)
    with pytest.raises(UserError, match=r"diverged: .* last 10 steps .* lower learning rate"):
        train(config, tmp_path)


def arguments(config, folder, **changes):
    """The command line that stands for `config`."""
    settings = {**vars(config.data), **vars(config.model), **vars(config), **changes}
    names = ("vocabulary", "epochs", "dropout", "batch_size", "buckets", "save_seconds")
    names += ("embedding", "encoder", "decoder", "attention_features", "attentional")
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", settings[name])]
    return ["train", "tiny", "--folder", folder, "--data", settings["path"], *options]


def test_the_command_line_gives_the_same_run(cli, config, trained):
    result = cli(*arguments(config, trained.path))
    assert result.code == 0, result
    assert f"continuing at step {STEPS} of {STEPS}" in result.out
    assert (trained.plots / "curves.png").stat().st_size > 5000


def test_a_terminated_process_saves_and_the_next_one_goes_on(cli, config, tmp_path):
    epochs = 12
    command = arguments(config, tmp_path, epochs=epochs, save_seconds=1e6)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.translation", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = time.monotonic() + 600
    while not ((tmp_path / FILE).exists() and read_metrics(tmp_path)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    last = err.splitlines()[-1]
    assert last.startswith("stopped: stopped after step "), err
    assert "Traceback" not in err
    saved, _ = last_state(tmp_path)
    assert f"step {saved} of {epochs * EPOCH}, which is saved" in last
    result = cli(*command)
    assert result.code == 0, result
    assert f"continuing at step {saved} of" in result.out
    steps = [entry["step"] for entry in read_metrics(tmp_path) if "loss" in entry]
    assert steps == list(range(1, epochs * EPOCH + 1))
