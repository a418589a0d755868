"""A bundle on a device: the same proofs and numbers as next door, asked for from the command line."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.cli import app
from tests.devices.conftest import NATIVE, Board, boards_of, with_python
from tests.devices.processes import eventually, until
from tests.measure.bundles import MakeBundle, bundle, golden, own_bundle

__all__ = ["bundle", "own_bundle"]

shared_board = boards_of(NATIVE)  # equal to the last digit; another processor has tests of its own


def edgekd(*words: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def verdict(*words: str) -> dict[str, Any]:
    """What a command that succeeds gives as JSON; it may warn beside it."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def uri(board: Board) -> str:
    return with_python(board)


@pytest.fixture(scope="session")
def verify(bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command line that needs only the device."""
    folder, data = bundle("onnxruntime"), tmp_path_factory.mktemp("data") / "data.npz"
    x = np.random.default_rng(0).normal(size=(40, *golden(folder, "input:input").shape[1:])).astype(np.float32)
    np.savez(data, x=x, y=np.arange(40) % 10)
    return ["verify", str(folder), "--data", str(data), "--json", "--device"]


@pytest.fixture(scope="session")
def here(verify: list[str]) -> dict[str, Any]:
    return verdict(*verify, "local:")


def test_verify_finds_on_the_device_what_it_finds_here(uri: str, verify: list[str], here: dict[str, Any]) -> None:
    found = verdict(*verify, uri)
    # the device is this machine's processor: golden parity and accuracy are equal to the last digit
    difference = found.pop("difference")
    assert found == here | {"device": uri}
    assert here["samples"] == 40
    assert (difference["against"], difference["metric"], difference["points"]) == ("host", here["accuracy"], 0)
    assert [(row["max_steps"], row["argmax_changes"]) for row in difference["outputs"]] == [(0, 0)]


def test_bench_gives_a_row_with_the_devices_facts(uri: str, bundle: MakeBundle, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    replicates = ["--replicates", "2", "--seconds", "0.05", "--count", "5"]
    code, output = edgekd(
        "bench", str(bundle("onnxruntime")), "--device", uri, *replicates, "--out", str(out), "--json"
    )
    assert code == 0, output
    row = json.loads(out.read_text())
    assert [len(samples) >= 5 for samples in row["samples"]] == [True, True]
    assert row["machine"]["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert row["machine"]["python"] == sys.version.split()[0]


def test_doctor_finds_there_what_is_here_and_says_what_is_missing(board: Board, uri: str) -> None:
    code, there = edgekd("doctor", "--device", uri, "--target", "x86-onnxruntime", "--json")
    found = json.loads(there)
    assert (code, found["ready"], found["device"]) == (0, True, uri)
    assert all(row["found"] != "missing" for row in found["components"])
    code, there = edgekd("doctor", "--device", f"{board.uri}?python=/no/python", "--json")
    assert (code, json.loads(there)["ready"]) == (1, False)
    assert board.leftovers() == []


def test_what_is_missing_there_is_one_line(board: Board, uri: str, bundle: MakeBundle, own_bundle: Path) -> None:
    code, output = edgekd("verify", str(bundle("onnxruntime")), "--device", f"{board.uri}?python=/no/python")
    assert (code, len(output.strip().splitlines())) == (3, 1)
    assert "cannot run /no/python" in output
    (own_bundle / "golden.npz").write_bytes(b"damaged")
    code, output = edgekd("verify", str(own_bundle), "--device", uri)
    assert (code, len(output.strip().splitlines())) == (2, 1)


def test_a_runner_that_is_killed_is_not_believed(board: Board, bundle: MakeBundle) -> None:
    killer = board.bin / "killer"  # the kernel's out-of-memory killer, or an owner who pulls the plug of one process
    killer.write_text(f'#!/bin/sh\n{sys.executable} "$@" | head -n 1\nkill -9 $$\n')
    killer.chmod(0o755)
    code, output = edgekd("verify", str(bundle("onnxruntime")), "--device", f"{board.uri}?python=killer")
    killer.unlink()
    assert code == 3
    assert "the runner was lost (exit code 137)" in output


def test_a_device_that_dies_at_work_is_lost_and_keeps_nothing(own_board: Board, bundle: MakeBundle) -> None:
    threading.Thread(target=lambda: until(True, "--seconds=71.08", seconds=60) and own_board.cut()).start()
    command = ["bench", str(bundle("onnxruntime")), "--device", with_python(own_board), "--seconds", "71.08", "--json"]
    code, output = edgekd(*command)
    assert (code, len(output.strip().splitlines())) == (3, 1), output
    assert own_board.uri in output
    assert "was lost" in output
    assert until(False, "--seconds=71.08")
    assert eventually(lambda: not own_board.leftovers())


@pytest.mark.parametrize("uri", ["ssh://no-such-board.invalid", "adb://-s", "ssh://-oProxyCommand=id"])
def test_the_exit_code_tells_bad_input_from_an_absent_device(uri: str, bundle: MakeBundle) -> None:
    code, output = edgekd("bench", str(bundle("onnxruntime")), "--device", uri)
    assert code == (3 if "invalid" in uri else 2)
    assert len(output.strip().splitlines()) == 1
