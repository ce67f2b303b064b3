"""One sentence and an exit code where a person is at fault; a traceback where we are."""

import os
import shlex
import subprocess
import sys

import pytest

from experiments.common.errors import Interrupted, UserError, run_main
from experiments.common.files import read_file, read_json, write_file, write_json


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("train.de is\nmissing."), 2, "error: train.de is missing.\n"),
        (FileNotFoundError(2, "No such file", "a.txt"), 2, "error: a.txt: No such file\n"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device\n"),
        (Interrupted("step 3 is saved."), 130, "stopped: step 3 is saved.\n"),
        (KeyboardInterrupt(), 130, "stopped: interrupted; what was saved before is untouched.\n"),
    ],
)
def test_one_sentence(error, code, said, capsys, monkeypatch):
    monkeypatch.delenv("RECURRAX_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: _raise(error))
    assert stopped.value.code == code
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", said)


def test_success_bugs_and_the_variable(monkeypatch):
    monkeypatch.delenv("RECURRAX_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: None)
    assert stopped.value.code == 0
    with pytest.raises(ZeroDivisionError):
        run_main(lambda: 1 // 0)
    monkeypatch.setenv("RECURRAX_TRACEBACK", "1")
    with pytest.raises(UserError):
        run_main(lambda: _raise(UserError("x")))


def test_closed_pipe_ends_quietly():
    code = (
        "from experiments.common.errors import run_main\n"
        "run_main(lambda: [print('line', n) for n in range(100_000)])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_terminal_without_the_letter_is_one_sentence():
    code = "from experiments.common.errors import run_main; run_main(lambda: print('schl\\xe4ft'))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    said = "error: ascii has no '\\xe4'; set PYTHONIOENCODING=utf-8.\n"
    assert (result.returncode, result.stderr) == (2, said)


def test_a_closed_stdout_is_no_error():
    code = "from experiments.common.errors import run_main; run_main(lambda: print('x'))"
    command = f"{shlex.join([sys.executable, '-c', code])} >&-"
    result = subprocess.run(command, shell=True, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b"")


def test_files_are_whole_and_errors_name_them(tmp_path):
    path = tmp_path / "new" / "config.json"
    write_json(path, {"ä": [1, None]})
    assert read_json(path) == {"ä": [1, None]}
    assert "ä" in path.read_text(encoding="utf-8")
    write_file(path, b"\x00\xff")
    assert read_file(path) == b"\x00\xff"
    path.write_text('{"cut": [1, ')
    with pytest.raises(UserError, match=r"config\.json is not valid JSON, perhaps cut short"):
        read_json(path)
    with pytest.raises(UserError, match=r"cannot read .*nothing: No such file or directory"):
        read_file(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder"):
        write_file(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "new"]
