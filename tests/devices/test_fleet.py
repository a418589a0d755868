"""Several devices at once, some of which are the same machine or go away."""

import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd.devices import Device
from edgekd.errors import BadInputError, DeviceLostError, DeviceNotFoundError
from edgekd.measure.results import read_rows
from edgekd.pipeline.fleet import Member, on_each, parse_devices
from tests.devices.conftest import Board, with_python
from tests.devices.loopback import Loopback
from tests.devices.processes import until
from tests.measure.bundles import MakeBundle, bundle
from tests.small_run import complaint, finish, start

__all__ = ["bundle"]

ABSENT = "ssh://no-such-board.invalid"


def meet(members: Sequence[Member], seconds: float, timed: bool = False) -> list[bool | None]:
    """Whether each was at work while another was, having waited so long for it."""
    both = threading.Barrier(len(members))

    def job(device: Device) -> bool:
        assert device.run(["true"], timeout=30).code == 0
        try:
            both.wait(seconds)
        except threading.BrokenBarrierError:
            return False
        return True

    return [outcome.result for outcome in on_each(members, job, timed=timed)]


def test_devices_are_named_once_and_checked_before_any_is_called(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('[[devices]]\nuri = "adb://emu-1"\nhost = "rack"\n[[devices]]\nuri = "ssh://pi"\n')
    assert parse_devices() == (Member(uri="local:"),)
    assert parse_devices(["local:"], fleet) == (
        Member(uri="local:"), Member(uri="adb://emu-1", host="rack"), Member(uri="ssh://pi")
    )  # fmt: skip
    with pytest.raises(BadInputError, match="ssh://pi is named twice"):
        parse_devices(["ssh://pi"], fleet)
    with pytest.raises(BadInputError, match="unknown device 'shh://pi'; did you mean 'ssh:'"):
        parse_devices(["shh://pi"])
    fleet.write_text('[[devices]]\nurl = "ssh://pi"\n')
    with pytest.raises(BadInputError, match=r"fleet\.toml: missing key 'devices\.0\.uri'"):
        parse_devices(fleet=fleet)


def test_two_names_of_one_machine_are_timed_in_turn(sshd: Loopback) -> None:
    pair = parse_devices(["local:", sshd.uri])
    assert [outcome.uri for outcome in on_each(pair, lambda device: None, timed=True)] == ["local:", sshd.uri]
    assert meet(pair, 0.5, timed=True) == [False, False]
    assert meet(pair, 60) == [True, True]
    apart = [Member(uri=member.uri, host=member.uri) for member in pair]  # whoever says so knows better
    assert meet(apart, 60, timed=True) == [True, True]
    assert sshd.leftovers() == []


def test_what_is_lost_or_absent_loses_nobody_elses(sshd: Loopback) -> None:
    def job(device: Device) -> str:
        if device.uri == sshd.uri:
            sshd.cut()
        return device.run(["echo", "here"], timeout=60).stdout

    absent, lost, kept = on_each(parse_devices([ABSENT, sshd.uri, "local:"]), job)
    assert isinstance(absent.error, DeviceNotFoundError)
    assert isinstance(lost.error, DeviceLostError)
    assert (kept.result, kept.error) == ("here\n", None)


def test_rows_of_the_others_are_kept_and_the_exit_code_says_that_one_is_missing(
    bundle: MakeBundle, tmp_path: Path
) -> None:
    out, both = tmp_path / "results.jsonl", ["--device", ABSENT, "--device", "local:", "--json"]
    quick = ["--replicates", "1", "--seconds", "0.02", "--count", "3", "--out", str(out)]
    result = CliRunner().invoke(app, ["bench", str(bundle("onnxruntime")), *both, *quick])
    absent, kept = json.loads(result.stdout)
    assert result.exit_code == 3
    assert absent["device"] == ABSENT
    assert "Could not resolve hostname" in absent["error"]
    assert kept["device"] == "local:"
    assert kept["p50"] > 0
    assert len(read_rows(out)) == 1
    result = CliRunner().invoke(app, ["verify", str(bundle("onnxruntime")), *both])
    absent, kept = json.loads(result.stdout)
    assert (result.exit_code, absent["ok"], kept["ok"]) == (3, False, True)
    trace = tmp_path / "trace.json"
    words = ["profile", str(bundle("onnxruntime")), *both, "--runs", "1", "--trace", str(trace)]
    result = CliRunner().invoke(app, words)
    absent, kept = json.loads(result.stdout)
    assert (result.exit_code, absent["device"], trace.exists()) == (3, ABSENT, True)
    assert kept["device"] == "local:"
    assert kept["layers"]
    result = CliRunner().invoke(app, [word for word in words if word != "--json"])
    told = " ".join(result.stdout.split())  # a long path breaks the line
    assert (result.exit_code, " on local: " in told, ABSENT in result.stderr) == (3, True, True)


def test_all_lost_is_one_line(bundle: MakeBundle) -> None:
    result = CliRunner().invoke(app, ["bench", str(bundle("onnxruntime")), "--device", ABSENT, "--json"])
    assert result.exit_code == 3
    assert len(result.output.strip().splitlines()) == 1


def test_an_interrupt_ends_what_runs_on_all_and_leaves_nothing(bundle: MakeBundle, own_board: Board) -> None:
    devices = ("--device", with_python(own_board), "--device", "local:")
    host = start("bench", bundle("onnxruntime"), *devices, "--seconds", 71.07)
    assert until(True, "--seconds=71.07", seconds=60)  # one word only in the runner's arguments
    host.send_signal(signal.SIGINT)
    assert "interrupted" in complaint(finish(host, 60), 130)
    assert own_board.leftovers() == []
    assert until(False, "--seconds=71.07")
