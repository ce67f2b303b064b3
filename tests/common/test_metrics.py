"""A curve has each step once, whatever happened to the run; pictures are drawn from it."""

import struct
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from experiments.common.errors import UserError
from experiments.common.metrics import FILE, MetricsLog, read_metrics
from experiments.common.plots import attention_map, learning_curves

PNG = b"\x89PNG\r\n"


def _run(folder, start, stop, **options):
    with MetricsLog(folder, **options) as log:
        for step in range(start, stop):
            log.log(step, {"loss": jnp.float32(1) / step, "lr": np.float64(0.1), "n": step})


def test_resumed_curve_equals_the_uninterrupted_one(tmp_path):
    _run(tmp_path / "whole", 1, 9, tensorboard=False)
    _run(tmp_path / "cut", 1, 7, tensorboard=False)
    with open(tmp_path / "cut" / FILE, "a") as file:
        file.write('{"step": 7, "lo')  # killed while it wrote
    assert [e["step"] for e in read_metrics(tmp_path / "cut")] == [1, 2, 3, 4, 5, 6]
    _run(tmp_path / "cut", 5, 9, resume_step=4, tensorboard=False)
    whole, cut = ((tmp_path / name / FILE).read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert read_metrics(tmp_path / "cut")[2] == {"step": 3, "loss": float(np.float32(1) / 3)} | {
        "lr": 0.1,
        "n": 3,
    }
    _run(tmp_path / "cut", 1, 3, tensorboard=False)  # anew
    assert len(read_metrics(tmp_path / "cut")) == 2


def test_what_json_cannot_hold_is_null_and_tensorboard_gets_its_file(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.log(1, {"loss": jnp.nan, "norm": jnp.float32(np.inf), "ok": True})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": None, "norm": None, "ok": True}]
    (file,) = (tmp_path / "tensorboard").glob("events*")
    assert [(e.step, v.tag, v.simple_value) for e in _events(file) for v in e.summary.value] == [
        (1, "ok", 1.0)
    ]
    file.unlink()
    with MetricsLog(tmp_path, resume_step=7) as log:
        log.log(8, {"loss": 0.5})
    (file,) = (tmp_path / "tensorboard").glob("events*")
    _, begin, logged = _events(file)
    assert (begin.step, begin.session_log.status) == (8, begin.session_log.START)
    assert (logged.step, logged.summary.value[0].tag) == (8, "loss")


def _events(file):
    event: Any = event_pb2.Event  # type: ignore[attr-defined] - made while it is imported
    content, found = file.read_bytes(), []
    while content:  # the size, its checksum, the event, its checksum
        size = struct.unpack("Q", content[:8])[0]
        found.append(event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return found


_LOG_FOR_EVER = """
import itertools, resource, sys
from experiments.common.errors import run_main
from experiments.common.metrics import MetricsLog
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
def main():
    with MetricsLog(sys.argv[1]) as log:
        for step in itertools.count(1):
            log.log(step, {name: 0.5 for name in sys.argv[3:]})
run_main(main)
"""


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], ["a" * 400]])
def test_a_full_disk_is_one_sentence_whichever_file_fills_it(tmp_path, names):
    """TensorBoard's file, which is larger for many short names, or ours. Neither may hang."""
    pytest.importorskip("resource")
    limit = 20_000  # bytes that a file can have
    result = subprocess.run(
        [sys.executable, "-c", _LOG_FOR_EVER, str(tmp_path), str(limit), *names],
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = f"error: cannot write the metrics in {tmp_path}: file too large; checkpoints are "
    assert (result.returncode, result.stderr) == (2, f"{said}untouched.\n")
    assert len(read_metrics(tmp_path)) > 10


def test_foreign_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*metrics\.jsonl"):
        read_metrics(tmp_path)
    (tmp_path / FILE).write_text('{"step": 1}\nhello\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2, is not a JSON object"):
        read_metrics(tmp_path)


def test_pictures(tmp_path):
    entries = [{"step": s, "train_loss": 1 / s} for s in range(1, 60)]
    entries += [{"step": s, "val_loss": 2 / s, "val_bleu": s} for s in (20, 40)]
    entries += [{"step": 60, "train_loss": None}]
    panels = {"loss": ["train_loss", "val_loss"], "BLEU": ["val_bleu"], "none": ["other"]}
    learning_curves(entries, panels, tmp_path / "curves.png", title="a run")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    with pytest.raises(UserError, match="the metrics hold none of other"):
        learning_curves(entries, {"none": ["other"]}, tmp_path / "no.png")

    source, target = ["▁Zwei", "▁Hunde", "</s>"], ["▁Two", "</s>"]
    weights = jnp.full((2, 3), 1 / 3)
    attention_map(weights, source, target, tmp_path / "map.png", title="Two dogs " * 20)
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)
    # Two dollars are no formula.
    attention_map(weights, ["$", "#$$", "</s>"], target, tmp_path / "map.png", title="$#$ a day")
    learning_curves(entries, panels, tmp_path / "curves.png", title="$#$")
    with pytest.raises(ValueError, match=r"weights must be \[2, 3\].* got shape \(3, 2\)"):
        attention_map(weights.T, source, target, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
