"""What `edgekd bench` found, for the terminal: a column for each bundle on each device."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgekd.measure.telemetry import Telemetry
from edgekd.reporting.conditions import conditions
from edgekd.reporting.device import metric
from edgekd.reporting.layout import Beside
from edgekd.reporting.words import count, milliseconds, size, three_digits

MEGABYTE = 1e6
FOOTPRINT: dict[str, tuple[str, Callable[[int], str]]] = {
    "arena_bytes": ("RAM", size),
    "sram_bytes": ("SRAM", size),
    "flash_bytes": ("flash", size),
    "context_bytes": ("context", size),
    "macs": ("MACs", count),
    "npu_cycles_estimate": ("NPU cycles, estimated", count),
    "cpu_ops": ("CPU operators, not in it", count),
}
Row = dict[str, Any]


def bench_table(rows: Sequence[Row]) -> Beside:
    """Rows of `bench_bundles`, a column each where they fit; what a device did not tell is left out."""
    return Beside([list(_facts(row)) for row in rows])


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    for label in ("device", "bundle", "error", "executed", "runtime"):
        if row.get(label):
            yield label, row[label]
    if "p50" in row:
        yield "how", _how(row)
        yield from _times(row)
        yield from _memory(row)
        if row["flags"]:
            yield "flags", ", ".join(row["flags"])
        if told := conditions(_telemetry(row)):
            yield "conditions", ", ".join(told)
    for key, (what, shown) in FOOTPRINT.items():
        if row.get(key) is not None:
            yield what, shown(row[key])
    yield from metric(row)
    if "strict" in row:
        yield from _strict(row["strict"])


def _telemetry(row: Row) -> Telemetry | None:
    return Telemetry.parse(row["telemetry"], "telemetry") if row.get("telemetry") else None


def _how(row: Row) -> str:
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    cores = "" if row["affinity"] is None else f" on core {', '.join(map(str, row['affinity']))}"
    return f"{row['scenario']}, batch {row['batch']}, {threads}{cores}, {row['precision']}"


def _times(row: Row) -> Iterator[tuple[str, str]]:
    offline = row["scenario"] == "offline"
    interval = f" ({three_digits(row['low'])}–{milliseconds(row['high'])})" if row["replicates"] > 1 else ""
    median = milliseconds(row["p50"]) + interval
    if offline:
        yield "throughput", _per_second(row)
        yield "time per batch", median
    else:
        yield "latency", median
        yield from ((name, milliseconds(row[name])) for name in ("p90", "p99") if row[name] is not None)
        yield "throughput", _per_second(row)
    yield "first inference", milliseconds(row["first_ms"])
    again = row["warm_load_ms"]
    yield "load", milliseconds(row["load_ms"]) + (f", again {milliseconds(again)}" if again is not None else "")
    yield "samples", f"{row['n']:,} in {row['replicates']} process{'es' if row['replicates'] > 1 else ''}"


def _per_second(row: Row) -> str:
    value = row["throughput"]
    return f"{value:,.0f} per s" if value >= 100 else f"{three_digits(value)} per s"


def _memory(row: Row) -> Iterator[tuple[str, str]]:
    peak, model = row["peak_rss_mb"], row["model_rss_mb"]
    if peak is not None:
        added = "" if model is None else f", {size(model * MEGABYTE)} for the model"
        yield "memory", size(peak * MEGABYTE) + added
    for what, reason in row["missing"].items():
        yield f"no {what.replace('_', ' ')}", reason


def _strict(found: Row) -> Iterator[tuple[str, str]]:
    bound = "" if found["p90_bound"] is None else f", at most {milliseconds(found['p90_bound'])}"
    yield "MLPerf's p90", milliseconds(found["p90"]) + bound
    yield "MLPerf's rules", "; ".join(found["broken"]) or "kept"
