import io
from typing import Any

from rich.console import Console

from edgekd.reporting.benchmark import bench_table
from edgekd.reporting.last_line import of_bench

TIMED: dict[str, Any] = {
    "bundle": "bundles/x86-tflite", "runtime": "LiteRT 2.3.0", "precision": "f32", "scenario": "single-stream",
    "batch": 1, "threads": 2, "affinity": [0, 3], "missing": {}, "p50": 0.0107, "low": 0.0106, "high": 0.0109,
    "p90": 0.012, "p99": 0.0252, "n": 7254, "replicates": 5, "throughput": 93457.9, "load_ms": 3.37,
    "warm_load_ms": 1.22, "first_ms": 0.0718, "peak_rss_mb": 50.97, "model_rss_mb": 4.78, "switches_per_s": 1.0,
    "flags": ["noisy", "emulated"],
}  # fmt: skip


def lines(rows: list[dict[str, Any]], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(bench_table(rows))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().replace("\u00a0", " ").splitlines()]


def test_a_latency_is_told_with_its_units_on_eighty_columns() -> None:
    assert lines([TIMED]) == [
        "bundle           bundles/x86-tflite",
        "runtime          LiteRT 2.3.0",
        "how              single-stream, batch 1, 2 threads on core 0, 3, f32",
        "latency          0.0107 ms (0.0106–0.0109 ms)",
        "p90              0.0120 ms",
        "p99              0.0252 ms",
        "throughput       93,458 per s",
        "first inference  0.0718 ms",
        "load             3.37 ms, again 1.22 ms",
        "samples          7,254 in 5 processes",
        "memory           51.0 MB, 4.78 MB for the model",
        "flags            noisy, emulated",
    ]


def test_what_the_device_was_like_stands_below_its_latency() -> None:
    seen = {
        "seconds": 2.0,
        "samples": 9,
        "frequency_mhz": 1500.0,
        "max_frequency_mhz": 2400.0,
        "temperature_before": 48,
        "temperature_highest": 82,
    }
    assert lines([TIMED | {"telemetry": seen}])[-1] == "conditions       clock 1.50 of 2.40 GHz, 48 → 82 °C"


def test_offline_its_throughput_comes_first_and_what_is_not_told_has_its_reason() -> None:
    untold = {"warm_load_ms": None, "model_rss_mb": None, "missing": {"model_rss_mb": "no /proc/self/status here"}}
    said = lines([TIMED | {"scenario": "offline", "affinity": None} | untold])
    assert said[2:5] == [
        "how              offline, batch 1, 2 threads, f32",
        "throughput       93,458 per s",
        "time per batch   0.0107 ms (0.0106–0.0109 ms)",
    ]
    for line in ("load             3.37 ms", "memory           51.0 MB", "no model rss mb  no /proc/self/status here"):
        assert line in said


def test_devices_stand_side_by_side_with_their_errors_and_sizes() -> None:
    sized = {
        "bundle": "mcu",
        "executed": "TFLite-Micro here",
        "arena_bytes": 10_240,
        "flash_bytes": 98_304,
        "macs": None,
    }
    said = lines([{"device": "ssh://pi", **TIMED}, {"device": "adb://x", "error": "gone"}, sized], width=120)
    assert said[0].split() == ["device", "ssh://pi", "adb://x"]
    assert next(line for line in said if line.startswith("error")).split() == ["error", "gone"]
    assert next(line for line in said if line.startswith("RAM")).split() == ["RAM", "10.2", "kB"]


def test_mlperfs_rules_are_kept_or_named() -> None:
    strict = {"p90": 1.5, "p90_bound": 1.6, "replicated": 1.01, "broken": []}
    assert lines([TIMED | {"strict": strict}])[-2:] == [
        "MLPerf's p90     1.50 ms, at most 1.60 ms",
        "MLPerf's rules   kept",
    ]
    broken = strict | {"p90_bound": None, "broken": ["1 replicate, not 2", "50 inferences, fewer than 1024"]}
    assert lines([TIMED | {"strict": broken}])[-1] == (
        "MLPerf's rules   1 replicate, not 2; 50 inferences, fewer than 1024"
    )


def test_one_process_has_no_interval() -> None:
    said = lines([TIMED | {"replicates": 1}])
    assert "latency          0.0107 ms" in said


def test_what_takes_seconds_has_a_throughput_too() -> None:
    said = lines([TIMED | {"throughput": 0.3127}])
    assert "throughput       0.313 per s" in said


def test_the_last_line_ranks_batches_by_the_time_of_a_sample() -> None:
    one = TIMED | {"flags": []}
    four = one | {"bundle": "four", "batch": 4, "p50": 0.02, "low": 0.0199, "high": 0.0201}
    assert of_bench([one, four]) == "2 measured; fastest: four, median 0.0200 ms for 4 samples"


def test_the_last_line_calls_fastest_only_what_is_apart_from_all_others() -> None:
    slow = TIMED | {"flags": []}
    fast = slow | {"bundle": "fast", "p50": 0.005, "low": 0.0049, "high": 0.0051}
    few = {"replicates": 1}
    assert of_bench([slow, fast]) == "2 measured; fastest: fast, median 0.00500 ms"
    assert of_bench([slow | few, fast | few]) == "2 measured; perhaps fastest: fast, median 0.00500 ms"
    assert of_bench([slow, fast | {"high": 0.0108}]) == "2 measured; perhaps fastest: fast, median 0.00500 ms"
    assert of_bench([fast | few]) == "fast, median 0.00500 ms"
