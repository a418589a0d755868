"""A device that may say anything: a program in the runner's place, whose records are right but for one number."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.devices._address import RUNNER
from edgekd.devices.local import LocalDevice
from edgekd.errors import DeviceError
from edgekd.measure.facts import machine_facts
from edgekd.measure.readiness import examine
from edgekd.measure.telemetry import watch
from tests.export.runner import run
from tests.measure.bundles import MakeBundle
from tests.small_run import complaint, edgekd

HUGE = 10**400
NAN, INF = float("nan"), float("inf")
HOSTILE = [
    ("bench", "latency", {"samples_ms": [-1.0]}),
    ("bench", "latency", {"samples_ms": [0.0, 1.0]}),
    ("bench", "latency", {"samples_ms": []}),
    ("bench", "latency", {"samples_ms": [NAN]}),
    ("bench", "latency", {"samples_ms": [5e-324]}),
    ("bench", "latency", {"first_ms": INF}),
    ("bench", "latency", {"first_ms": 1e300}),
    ("bench", "latency", {"warm_load_ms": -3.0}),
    ("bench", "latency", {"batch": 0}),
    ("bench", "latency", {"batch": 2}),
    ("bench", "latency", {"threads": -1}),
    ("bench", "latency", {"peak_rss_mb": -1.0}),
    ("bench", "latency", {"involuntary_switches": HUGE}),
    ("bench", "load", {"ms": -0.5}),
    ("bench", "load", {"ms": "soon"}),
    ("bench", "start", {"pid": -1}),
    ("verify", "golden", {"max_steps": -1.0}),
    ("verify", "golden", {"argmax_agreement": 1.5}),
    ("verify", "golden", {"drift": NAN}),
    ("verify", "kernels", {"int8": -1}),
    ("verify", "kernels", {"int8": 11, "total": 10}),
    ("verify", "kernels", {"ops": {"Conv": -3}}),
]


def device_that_says(folder: Path, answers: dict[str, list[dict[str, Any]]]) -> str:
    """A URI of this machine, with a runner that answers each verb by these records."""
    folder.mkdir()
    for verb, records in answers.items():
        (folder / verb).write_text("".join(json.dumps(record) + "\n" for record in records))
    program = folder / RUNNER
    program.write_text(f"#!/bin/sh\nexec cat '{folder}'/\"$1\"\n")
    program.chmod(0o755)
    return f"local:?runner={folder}"


@pytest.fixture(scope="module")
def honest(bundle: MakeBundle) -> dict[str, list[dict[str, Any]]]:
    folder = bundle("onnxruntime")
    bench = run("bench", folder, "--seconds", "0.01", "--count", "5")[1]
    return {"bench": bench, "verify": run("verify", folder)[1], "build": run("build", folder)[1]}


def changed(honest: dict[str, Any], kind: str, change: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        verb: [record | change if record["record"] == kind else record for record in records]
        for verb, records in honest.items()
    }


def test_the_program_is_believed_where_it_is_honest(bundle: MakeBundle, honest: dict[str, Any], tmp_path: Path) -> None:
    uri = device_that_says(tmp_path / "device", honest)
    assert edgekd("verify", bundle("onnxruntime"), "--device", uri).exit_code == 0
    assert edgekd("bench", bundle("onnxruntime"), "--device", uri, "--replicates", 1).exit_code == 0


@pytest.mark.parametrize(("command", "kind", "change"), HOSTILE, ids=str)
def test_a_number_that_cannot_be_is_a_device_error(
    bundle: MakeBundle, honest: dict[str, Any], tmp_path: Path, command: str, kind: str, change: dict[str, Any]
) -> None:
    uri = device_that_says(tmp_path / "device", changed(honest, kind, change))
    once = ("--replicates", 1) if command == "bench" else ()
    message = complaint(edgekd(command, bundle("onnxruntime"), "--device", uri, *once), 3)
    assert message.startswith("error: the runner ")
    assert next(iter(change)) in message or "int8 kernels" in message or "batch" in message


def test_nesting_without_end_is_no_record(bundle: MakeBundle, honest: dict[str, Any], tmp_path: Path) -> None:
    uri = device_that_says(tmp_path / "device", honest)
    with (tmp_path / "device" / "verify").open("a") as stream:
        stream.write("[" * 200_000 + "\n")
    assert edgekd("verify", bundle("onnxruntime"), "--device", uri).exit_code == 0


class Liar(LocalDevice):
    """This machine, with other words in its shell's mouth."""

    word, lie = "", ""

    def run(self, argv: Any, timeout: float) -> Any:
        said = super().run(argv, timeout)
        lines = [self.lie if line.startswith(self.word) else line for line in said.stdout.split("\n")]
        return type(said)(said.code, "\n".join(lines), said.stderr)


@pytest.mark.parametrize("lie", ["MemTotal: lots", "MemTotal: -5 kB"])
def test_a_machine_that_makes_no_sense_is_a_device_error(lie: str) -> None:
    device = Liar("local:")
    device.word, device.lie = lie.split(":")[0], lie
    with pytest.raises(DeviceError, match="local:: what it says of itself makes no sense"):
        machine_facts(device)
    device.close()


@pytest.mark.parametrize("lie", ["uptime soon", "ticks cpu a b c d e f g h i"])
def test_a_state_that_makes_no_sense_is_left_out_with_the_reason(lie: str) -> None:
    device = Liar("local:")
    device.word, device.lie = lie.split()[0], lie
    with watch(device) as watched:
        pass
    device.close()
    assert watched.telemetry is not None
    assert "makes no sense" in watched.telemetry.missing["telemetry"]


def test_a_python_that_makes_no_sense_is_a_device_error() -> None:
    device = Liar("local:")
    device.word, device.lie = '{"modules"', '{"modules": 4}'
    with pytest.raises(DeviceError, match="local:: what it says of its Python makes no sense"):
        examine(device)
    device.close()


def test_what_the_shell_says_around_a_load_or_an_inventory_is_no_fault() -> None:
    class Chatty(LocalDevice):
        def run(self, argv: Any, timeout: float) -> Any:
            said = super().run(argv, timeout)
            loud = re.sub(r"(?m)^[\d.]+ [\d.]+ [\d.]+ \d+/\d+ \d+$", "busy", said.stdout)
            return type(said)(said.code, re.sub(r'(?m)^(\{"modules".*)$', r"\1\nbye", loud), said.stderr)

    device = Chatty("local:")
    found = examine(device)
    device.close()
    assert {row["what"]: row["found"] for row in found["state"]}["load"] == "unknown"
    assert {row["component"]: row["found"] for row in found["components"]}["numpy"] == np.__version__
