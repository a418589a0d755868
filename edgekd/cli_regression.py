"""`compare` and `gate`: what got better or worse, and an exit code that says so."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli_base import Device, Inputs, Json, Metric, Shape, command, reporter_for
from edgekd.reporting import last_line
from edgekd.terminal import finite, show

if TYPE_CHECKING:
    from edgekd.measure.comparison import Change

Threshold = Annotated[
    float, typer.Option(min=0.0, callback=finite, help="Smallest slowdown that is a regression, as a fraction.")
]
MetricDrop = Annotated[
    float,
    typer.Option(min=0.0, callback=finite, help="Largest loss of the metric: of a fraction itself, else a share."),
]
Seconds = Annotated[
    float, typer.Option(min=0.01, max=86_400, callback=finite, help="Shortest time per replicate.")
]  # fmt: skip
Data = Annotated[Path | None, typer.Option(help="npz with x and y: compare the task's metric, too.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 if it is unclear whether a row got slower, too.")]
Markdown = Annotated[Path | None, typer.Option(help="Write the table as Markdown, for a pull request.")]


@command(
    "Export and measure",
    "edgekd compare before.jsonl after.jsonl --threshold 0.1",
    "edgekd compare bundles/model-x86-tflite bundles/model-x86-openvino --data test.npz",
    "edgekd compare old.onnx new.onnx",
)
def compare(
    context: typer.Context,
    before: Annotated[
        Path, typer.Argument(help="A results.jsonl, as `bench --out` writes it; a bundle; a model file.")
    ],
    after: Annotated[Path, typer.Argument(help="A later one, of the same machine; another bundle or file.")],
    threshold: Threshold = 0.05,
    metric_drop: MetricDrop = 0.01,
    device: Device = "local:",
    data: Data = None,
    metric: Metric = None,
    inputs: Inputs = None,
    shape: Shape = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads.")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Fresh processes; below 5 nothing is claimed.")] = 5,
    seconds: Seconds = 1.0,
    markdown: Markdown = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Compare two result files, or measure two models in turns and compare those; exit 1 on a regression."""
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.pipeline.compare import Asked, Trial
    from edgekd.pipeline.compare import compare as compared
    from edgekd.pipeline.fleet import parse_devices

    trial = Trial(
        parse_devices([device])[0], data, metric, inputs, parse_shapes(shape or []), threads, replicates, seconds
    )
    asked = Asked(threshold, metric_drop)
    rows, regressed = compared(before, after, asked, trial, reporter_for(None, as_json), context.obj)
    _tell(rows, regressed, markdown, strict, as_json)


@command(
    "Export and measure",
    "edgekd gate baseline.jsonl bundles/model-x86-tflite",
    "edgekd gate baseline.jsonl bundles/* --data test.npz --markdown comment.md",
)
def gate(
    base: Annotated[Path, typer.Argument(help="The baseline: a results.jsonl of this machine, by `bench --out`.")],
    bundles: Annotated[list[Path], typer.Argument(help="The bundles that its rows measure, as they are now.")],
    device: Device = "local:",
    data: Data = None,
    metric: Metric = None,
    threshold: Threshold = 0.05,
    metric_drop: MetricDrop = 0.01,
    seconds: Seconds = 1.0,
    out: Annotated[Path | None, typer.Option(help="Keep the new rows in this file: the next baseline.")] = None,
    markdown: Markdown = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Measure bundles as a baseline was measured; exit 1 if one is slower, worse, or no longer there."""
    from edgekd.pipeline.compare import Asked, Trial
    from edgekd.pipeline.compare import gate as gated
    from edgekd.pipeline.fleet import parse_devices

    trial = Trial(parse_devices([device])[0], data, metric, seconds=seconds)
    rows, regressed = gated(base, bundles, Asked(threshold, metric_drop), trial, out, reporter_for(None, as_json))
    _tell(rows, regressed, markdown, strict, as_json)


def _tell(rows: "Sequence[Change]", regressed: bool, markdown: Path | None, strict: bool, as_json: bool) -> None:
    from edgekd.files import write_bytes
    from edgekd.reporting.comparison import compare_markdown, compare_table

    found = [row.model_dump(mode="json", exclude_defaults=not as_json) for row in rows]
    if markdown is not None:
        write_bytes(markdown, compare_markdown(found, "edgekd").encode())
    show(found, as_json, compare_table, last_line.of_compare)
    if regressed or (strict and any(row.verdict == "unclear" for row in rows)):
        raise typer.Exit(1)
