"""A device's state in words: what is known, and nothing else."""

from typing import Any

from edgekd.measure.telemetry import telemetry
from edgekd.reporting.conditions import conditions, of_target
from edgekd.reporting.html import render
from edgekd.reporting.run_record import RunRecord, TargetRecord

PI = """snapshot
frequency_khz 2400000
max_khz 2400000
governor ondemand
zone_mc 48300
snapshot
frequency_khz 1500000
max_khz 2400000
governor performance
zone_mc 82100
"""
JETSON = (
    "snapshot\npower_mode NV Power Mode: MAXN\nrail_ma 2000\nrail_mv 5000\ngpu_hz 918000000\n"
    "gpu_max_hz 1020000000\nsnapshot\n"
)
H100 = "snapshot\nsnapshot\nnvidia 0, 90, 1200, 1980, 81, 700.1, 0x0000000000000024\n"
PHONE = "snapshot\nthermal_status Thermal Status: 2\nbattery Charging\nsnapshot\n"


def told(text: str, *flags: str) -> str:
    return " · ".join(conditions(telemetry(text), flags)).replace("\u00a0", " ")


def test_clock_heat_and_governor_of_a_pi() -> None:
    expected = "clock 1.95 of 2.40 GHz · governor ondemand → performance · 48 → 82 °C · throttled"
    assert told(PI, "throttled") == expected  # the median of the two clocks


def test_power_mode_power_and_gpu_of_a_jetson() -> None:
    assert told(JETSON) == "power mode MAXN · 10.0 W · GPU clock 0.92 of 1.02 GHz"


def test_an_nvidia_gpu_says_what_held_it_back() -> None:
    expected = "GPU clock 1.20 of 1.98 GHz · GPU 81 → 81 °C · GPU 700 W · GPU held back by power cap and heat"
    assert told(H100) == expected


def test_a_phone_on_a_charger() -> None:
    assert told(PHONE) == "thermal status 2 · on a charger"


def test_what_is_not_known_is_not_said() -> None:
    assert (told(""), conditions(None)) == ("", [])


def test_a_flag_names_its_variants_unless_all_have_it(run: dict[str, Any]) -> None:
    target = run["targets"]["x86-tflite"]
    target["variants"]["int8"]["latency_ms"]["flags"] = ["noisy", "throttled"]
    target["variants"]["float"]["latency_ms"]["flags"] = ["throttled"]
    assert of_target(TargetRecord.parse(target, "x")) == ["noisy: int8", "throttled"]
    assert of_target(TargetRecord(backend="tflite", status="ok")) == []


def test_the_report_shows_it(run: dict[str, Any], tmp_path: Any) -> None:
    run["targets"]["x86-tflite"]["telemetry"] = telemetry(PI).model_dump(mode="json")
    shown = render(RunRecord.of(run), tmp_path)
    assert "clock 1.95 of 2.40\u00a0GHz · governor ondemand → performance · 48 → 82\u00a0°C" in shown
