"""What `doctor` and `verify` print for people."""

import io
from typing import Any

from rich.console import Console

from edgekd.reporting.device import doctor_view, verify_view

VERDICT: dict[str, Any] = {
    "device": "ssh://pi", "bundle": "b", "ok": True, "kernels": {"int8": 18, "total": 18},
    "golden": [{"output": "logits", "max_steps": 1.0, "ok": True}], "samples": 2000,
    "accuracy": 0.9, "metric": {"name": "accuracy"},
}  # fmt: skip
COMMAND = "/opt/a/long/path/of/a/virtual/environment/bin/python3 -m pip install ai-edge-litert"


def printed(view: Any, width: int = 60) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(view, crop=False)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_command_is_not_broken_where_the_terminal_is_narrow() -> None:
    rows = [{"component": "tflite", "for": "tflite bundles", "found": "missing", "get it": COMMAND}]
    state = [{"what": "load", "found": "0.1", "advice": ""}]
    prepare = ["Full clocks: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"]
    found = {
        "device": "ssh://pi",
        "cpu": "Pi 5",
        "ready": False,
        "components": rows,
        "state": state,
        "prepare": prepare,
    }
    said = printed(doctor_view(found))
    assert f"{COMMAND}  # tflite" in said
    assert prepare[0] in said
    assert f"{COMMAND}  # tflite" in printed(doctor_view(rows))


def test_what_one_command_gets_is_told_once() -> None:
    rows = [{"component": name, "for": "x", "found": "missing", "get it": COMMAND} for name in ("a", "b")]
    said = printed(doctor_view(rows))
    assert said[-2:] == ["to get what is missing", f"{COMMAND}  # a, b"]


def test_nothing_to_get_is_no_heading() -> None:
    assert "to get what is missing" not in printed(
        doctor_view([{"component": "a", "for": "b", "found": "1.0", "get it": ""}])
    )


def test_a_difference_is_told_in_points_and_steps() -> None:
    output = {"output": "logits", "n": 2000, "step": 0.1, "max_steps": 2.0, "differing": 0.015, "argmax_changes": 3}
    apart = {"against": "host", "metric": 0.9005, "points": -0.05, "reason": None, "outputs": [output]}
    said = printed(verify_view(VERDICT | {"difference": apart}), width=90)
    assert "accuracy         90.00 %, −0.05 points from the host's" in said
    assert "kernels in int8  18 of 18" in said
    assert any("argmax changes" in line for line in said)


def test_what_the_host_cannot_run_says_why() -> None:
    apart = {
        "against": "reference",
        "metric": 0.91,
        "points": -1.0,
        "reason": "the host cannot run it: no GPU",
        "outputs": [],
    }
    said = printed(verify_view(VERDICT | {"difference": apart}))
    assert "accuracy         90.00 %, −1.00 points from the reference's" in said
    assert "not compared     the host cannot run it: no GPU" in said


def test_a_device_that_was_lost_has_its_error_alone() -> None:
    said = printed(verify_view({"device": "ssh://pi", "ok": False, "error": "was lost"}))
    assert [line for line in said if line] == ["device  ssh://pi", "error   was lost"]


def test_several_devices_are_told_apart_by_an_empty_line() -> None:
    lost = {"device": "ssh://pi", "ok": False, "error": "was lost"}
    assert printed(verify_view([lost, lost])) == [*(one := ["device  ssh://pi", "error   was lost"]), "", *one]
