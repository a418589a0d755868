"""Foreign models that crash, hang or grow a native parser: the command says so in one line and ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd import confined
from tests.factories import Net

HOSTILE = Path(__file__).parent / "hostile"
CRASHING = (HOSTILE / "regex.onnx", HOSTILE / "split.onnx")  # they end onnx's shape inference with SIGSEGV
LIMITED = "from edgekd import confined; confined.{name} = {value}; from edgekd.__main__ import main; main()"
DEAF = "from edgekd import confined; confined.confine(); print('up', flush=True); import time; time.sleep(100)"
PARENT = (
    "import sys; from edgekd import confined; confined.ENTRY = ('-c', sys.argv[1]); sys.exit(confined.run(['export']))"
)


@pytest.fixture
def model(tmp_path):
    net = Net(0, (2, 6, 6))
    onnx.save(net.model(net.conv("input", 2, 4)), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", input=net.inputs(16))
    return tmp_path / "m.onnx"


def arguments(model):
    folder = model.parent
    return [
        "export",
        str(model),
        "--target=x86-onnxruntime",
        f"--calibration={folder / 'x.npz'}",
        f"--out={folder / 'o'}",
        "--no-bench",
    ]


def run(*words):
    argv = [sys.executable, "-m", "edgekd", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("path", CRASHING, ids=lambda path: path.stem)
def test_a_crash_of_native_code_is_one_line(model, path):
    model.write_bytes(path.read_bytes())
    ended = run(*arguments(model))
    assert ended.returncode == 2
    assert ended.stderr == f"error: {model}: the ONNX parser crashed on it (SIGSEGV)\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SECONDS_PER_MB = confined.SECONDS", 0.001, "importing it took longer than a model of its size may take"),
        ("BYTES", 2**20, "memory"),
    ],
)
def test_time_and_memory_have_limits(model, monkeypatch, capfd, name, value, words):
    monkeypatch.setattr(confined, "ENTRY", ("-c", LIMITED.format(name=name, value=value)))
    assert confined.run(arguments(model)) == 2
    told = capfd.readouterr().err
    assert f"{model}: " in told
    assert words in told
    assert len(told.splitlines()) == 1


def test_a_whole_model_passes_with_what_it_printed(model):
    ended = run(*arguments(model), "--json")
    assert ended.returncode == 0, ended.stderr
    assert '"status": "ok"' in ended.stdout


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9), (signal.SIGINT, 130)],
)
def test_whatever_ends_the_command_ends_the_process_that_parses(number, code):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, DEAF], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    (child,) = map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
    for _ in range(2):  # as `timeout` does
        os.kill(parent.pid, number)
        time.sleep(0.05)
    assert parent.wait(30) == code
    parent.stdout.close()
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.1)
    pytest.fail("it lives on")


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (["export", "m.onnx"], True),
        (["--debug", "export", "m.onnx"], True),
        (["run", "export"], False),
        (["targets"], False),
        ([], False),
    ],
)
def test_only_what_reads_foreign_models_is_confined(line, wanted, monkeypatch):
    assert confined.wanted(line) is wanted
    monkeypatch.setenv(confined.CONFINED, "1")
    assert not confined.wanted(line)


def test_limits_end_with_the_reading_of_the_model(tmp_path, monkeypatch):
    import resource

    monkeypatch.setenv(confined.CONFINED, "1")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with confined.parsing(tmp_path, None, "a model"):
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
