"""A device that answers otherwise than the host: by how much is known, and has to be found."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bundle import load_bundle
from edgekd.cli import app
from edgekd.devices import open_device
from edgekd.measure import predict
from edgekd.measure.results import read_rows
from tests.devices.conftest import Board
from tests.measure.bundles import MakeBundle, bundle, edit_manifest, golden, own_bundle

__all__ = ["bundle", "own_bundle"]

SAMPLES = 40
ASTRAY = f"""#!{sys.executable}
import subprocess, sys
import numpy as np
code = subprocess.call([sys.executable, *sys.argv[1:]])
if "predict" in sys.argv:
    path = sys.argv[sys.argv.index("--output") + 1]
    (name, answers), = np.load(path).items()
    answers[:4, 0] -= 3 * np.float32(STEP)
    answers[9] = np.roll(answers[9], 1)
    np.savez(path, **{{name: answers}})
sys.exit(code)
"""


@pytest.fixture
def data(bundle: MakeBundle, tmp_path: Path) -> Path:
    """Samples whose labels are what the host answers: it is right in all of them."""
    folder, path = bundle("onnxruntime"), tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, *golden(folder, "input:input").shape[1:])).astype(np.float32)
    np.savez(path, x=x, y=answers(folder, x).argmax(1))
    return path


def answers(folder: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The host's."""
    with closing(open_device("local:")) as host:
        return next(iter(predict(host, folder, {"input": x}).values()))


def verify(folder: Path, data: Path, *devices: str) -> Any:
    words = ["verify", str(folder), "--data", str(data), "--json", *(f"--device={uri}" for uri in devices)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_a_device_that_goes_astray_is_told_in_points_and_steps(sshd: Board, bundle: MakeBundle, data: Path) -> None:
    """4 of 400 values are 3 steps off; the scores of one sample go round by one class, which makes it a wrong one."""
    folder = bundle("onnxruntime")
    spec = load_bundle(folder).outputs[0]
    astray = sshd.bin / "astray"
    astray.write_text(ASTRAY.replace("STEP", repr(spec.step)))
    astray.chmod(0o755)
    uri, x = f"{sshd.uri}?python=astray", np.load(data)["x"]
    here, there = verify(folder, data, "local:", uri)
    host = answers(folder, x)
    rolled = np.abs(np.roll(host[9], 1) - host[9]) / (spec.step or 1)
    steps = np.zeros((SAMPLES, host.shape[1]))
    steps[:4, 0], steps[9] = 3, rolled
    moved = host.copy()
    moved[:4, 0] -= 3 * np.float32(spec.step or 0)
    moved[9] = np.roll(host[9], 1)
    wrong = int(np.sum(moved.argmax(1) != host.argmax(1)))
    assert wrong >= 1
    assert "difference" not in here
    found = there["difference"]
    assert (found["against"], found["metric"], found["reason"]) == ("host", 1.0, None)
    assert found["points"] == pytest.approx(-100 * wrong / SAMPLES)
    (row,) = found["outputs"]
    assert (row["output"], row["n"], row["argmax_changes"]) == (spec.name, SAMPLES, wrong)
    assert row["max_steps"] == pytest.approx(steps.max(), abs=1e-3)  # float32 holds a logit to 1e-4 steps
    assert row["differing"] == pytest.approx(np.mean(steps >= 0.5), abs=1e-9)


@pytest.mark.parametrize("known", [None, 0.875])
def test_where_the_host_has_no_runtime_the_reference_stands_in(
    sshd: Board, own_bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: float | None
) -> None:
    edit_manifest(own_bundle, metrics={"accuracy": known} if known else {})
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "onnxruntime.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(shadow))  # the host's processes alone: a login starts afresh
    found = verify(own_bundle, data, f"{sshd.uri}?python={sys.executable}")
    assert found["accuracy"] == 1
    difference = found["difference"]
    assert difference["reason"].startswith("the host cannot run it: ")
    assert difference["outputs"] == []
    assert (difference["against"], difference["metric"]) == ("reference" if known else None, known)
    assert difference["points"] == (12.5 if known else None)


def test_a_table_shows_it_for_people(sshd: Board, bundle: MakeBundle, data: Path) -> None:
    uri = f"{sshd.uri}?python={sys.executable}"
    shown = CliRunner().invoke(app, ["verify", str(bundle("onnxruntime")), "--data", str(data), "--device", uri]).stdout
    assert "100.00 %, ±0.00 points from the host's" in shown
    assert "golden parity    holds" in shown
    assert "argmax changes" in shown


def test_a_row_holds_what_a_device_is_worth_beside_how_fast_it_is(
    sshd: Board, bundle: MakeBundle, data: Path, tmp_path: Path
) -> None:
    uri, out = f"{sshd.uri}?python={sys.executable}", tmp_path / "results.jsonl"
    words = ["bench", str(bundle("onnxruntime")), "--data", str(data), "--out", str(out), "--replicates", "1"]
    words += ["--seconds", "0.05", "--device", uri]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "accuracy         100.00 %, ±0.00 points from the host's" in result.stdout
    (row,) = read_rows(out)
    assert (row.metric_name, row.metric) == ("accuracy", 1.0)
    assert row.difference is not None
    assert (row.difference.against, row.difference.points) == ("host", 0.0)
    assert row.difference.outputs[0].differing == 0  # the same runtime on the same machine


def test_an_exam_that_fails_loses_no_timing(sshd: Board, bundle: MakeBundle, data: Path, tmp_path: Path) -> None:
    absent = sshd.bin / "absent"
    absent.write_text(f'#!/bin/sh\ncase " $* " in *" predict "*) exit 9;; esac\nexec {sys.executable} "$@"\n')
    absent.chmod(0o755)
    out = tmp_path / "results.jsonl"
    words = ["bench", str(bundle("onnxruntime")), "--data", str(data), "--out", str(out), "--replicates", "1"]
    result = CliRunner().invoke(app, [*words, "--seconds", "0.05", "--device", f"{sshd.uri}?python=absent"])
    assert result.exit_code == 3, result.output
    (row,) = read_rows(out)
    assert row.latency is not None
    assert row.metric is None
