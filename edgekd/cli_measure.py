"""`export`, `bench`, `profile`, `verify`: bundles and what they do on devices."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgekd.cli_base import (
    AnyRange,
    BatchSize,
    Devices,
    Fleet,
    Inputs,
    Json,
    LabelledData,
    Metric,
    Provision,
    RuntimeOptions,
    Shape,
    Threads,
    command,
    reporter_for,
)
from edgekd.errors import BadInputError, FallbackError, NotProvenError, PromiseBrokenError
from edgekd.next_step import OTHER_SAMPLES, next_step_for
from edgekd.reporting import last_line
from edgekd.terminal import DEVICE_LOST, finite, show

if TYPE_CHECKING:
    from edgekd.pipeline.fleet import Member


@command(
    "Export and measure",
    "edgekd export model.onnx --target x86-openvino --calibration samples.npz",
    "edgekd export model.onnx --target raspberry-pi-5 --calibration samples.npz --shape images=1,3,640,640",
    "edgekd export model.onnx --target x86-tflite --target x86-openvino --images photos --size 640",
    "edgekd export model.onnx --target pixel-9 --calibration samples.npz --keep-float type:Softmax --layers",
)
def export(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(help="An ONNX model: float, or already quantised (QDQ) for the target's scheme.")
    ],
    target: Annotated[
        list[str], typer.Option(help="A target's name or file; see `edgekd targets`. Repeat it for several.")
    ],
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="X.npz|MODULE:FUNCTION",
            help="Samples of the model's inputs, by name, in a file or from a function; a float model needs samples.",
        ),
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Samples: a folder of .wav files, cut into windows.")] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, metavar="HZ", help="What the files of --audio have to have.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Samples: a folder of images, instead of --calibration.")] = None,
    size: Annotated[str | None, typer.Option(metavar="640|480x640", help="Height and width of --images.")] = None,
    scale: Annotated[str, typer.Option(metavar="1/255", help="What pixels of --images are multiplied with.")] = "1/255",
    mean: Annotated[
        list[float] | None, typer.Option(help="Subtracted from scaled pixels of --images; once, or per channel.")
    ] = None,
    std: Annotated[list[float] | None, typer.Option(help="What the rest is divided by, likewise.")] = None,
    bgr: Annotated[bool, typer.Option("--bgr", help="The model takes blue before red.")] = False,
    random: Annotated[
        int | None, typer.Option("--random", min=2, metavar="N", help="N samples of noise; nothing for real use.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")] = Path("bundles"),
    shape: Shape = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="INPUT=VALUE", help="Turn an input into a constant, as in sr=16000."),
    ] = None,
    simplify: Annotated[bool, typer.Option(help="Simplify a float model.")] = True,
    ranges: Annotated[
        str | None, typer.Option(help="How activation ranges are found: minmax, ema, percentile or mse.")
    ] = None,
    equalize: Annotated[bool | None, typer.Option("--equalize/--no-equalize", help="Cross-layer equalization.")] = None,
    correct_bias: Annotated[
        bool | None, typer.Option("--correct-bias/--no-correct-bias", help="Bias correction.")
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Layers to keep in float: a name, type:Softmax or between:first,last."),
    ] = None,
    mixed: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            callback=finite,
            help="Keep layers in float, first those that win most for their time here, until the outputs are so near.",
        ),
    ] = None,
    refine: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Longest search for tensors to keep in float, if int8 is far from float."
        ),
    ] = 60,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show the quantisation error of each layer, the largest first.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the layers as a page: their graph, coloured by error and precision.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the model was taught, for the bundle to be judged and scored by it."),
    ] = None,
    bench: Annotated[
        bool, typer.Option(help="Time the bundle beside the float model, where its runtime is here.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Quantise and compile an ONNX model, and verify it here; exit 4 if its runtime is not on this machine."""
    from edgekd.onnx_import.audio import AudioSamples
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.onnx_import.sample_options import calibration_samples, image_samples, only_samples
    from edgekd.onnx_import.samples import RandomSamples
    from edgekd.onnx_import.settings import parse_settings
    from edgekd.pipeline.foreign import export_file
    from edgekd.pipeline.imported import Wishes
    from edgekd.reporting.exported import export_table
    from edgekd.reporting.layer_table import losses_tables
    from edgekd.reporting.layers_page import write_layers_page
    from edgekd.tasks import find_task

    asked = {"ranges": ranges, "equalize": equalize, "correct_bias": correct_bias}
    wishes = Wishes(
        parse_shapes(shape or []), parse_settings(settings or []), simplify,
        {key: value for key, value in asked.items() if value is not None}, keep_float or (), refine, mixed,
        None if task is None else find_task(task),
    )  # fmt: skip
    pictures = image_samples(images, size, scale, mean or (0.0,), std or (1.0,), bgr) if images else None
    noise = RandomSamples(random, wishes.shapes) if random else None
    sounds = AudioSamples(audio, wishes.shapes, rate) if audio else None
    samples = only_samples(calibration_samples(calibration) if calibration else None, pictures, sounds, noise)
    reports = export_file(
        model, target, out, samples, wishes,
        layers=layers or html is not None, timed=bench, advise=partial(next_step_for, context.obj),
    )  # fmt: skip
    if html is not None:
        write_layers_page(html, model.name, losses_tables(reports), reports)
    show(reports[0] if len(reports) == 1 else reports, as_json, export_table, last_line.of_export)
    raise_worst(reports)


def raise_worst(reports: Sequence[Mapping[str, Any]]) -> None:
    """Raise what the worst of some exports' reports is worth: not exported, another precision, not proven here."""
    from edgekd.reporting.exported import REFUSED

    states = {report["status"]: report for report in reversed(reports)}
    for state in REFUSED:
        if state in states:
            kind = PromiseBrokenError if state == "failed" else BadInputError
            worst = states[state]
            raise kind(f"{worst['target']}: {worst['reason']}", hint=worst.get("next", ""))
    if report := states.get("fallback"):
        raise FallbackError(f"{report['bundle']} is {report['precision']}, not int8: {report['reason']}")
    if report := states.get("unverified"):
        hint = OTHER_SAMPLES if report.get("parity") else ""  # it ran, and nothing followed from that
        raise NotProvenError(f"{report['bundle']} is written, but {report['reason']}", hint=hint)


@command(
    "Export and measure",
    "edgekd bench bundles/model-x86-tflite",
    "edgekd bench bundles/model-pixel-9 --device adb://SERIAL --data test.npz --out results.jsonl",
    "edgekd bench bundles/model-raspberry-pi-5 --device ssh://pi.local --provision",
    "edgekd bench bundles/model-x86-tflite --against bundles/model-x86-openvino --threads 2",
    "edgekd bench yolo.onnx --shape images=1,3,640,640 --against yolo.tflite",
)
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, or a .tflite, .onnx or .xml file.")],
    device: Devices = None,
    fleet: Fleet = None,
    provision: Provision = False,
    against: Annotated[
        Path | None, typer.Option(help="A second bundle or file, measured in turns with the first.")
    ] = None,
    inputs: Inputs = None,
    shape: Shape = None,
    batch: BatchSize = None,
    threads: Threads = None,
    affinity: Annotated[
        str | None, typer.Option(metavar="CORES", help="Pin to these cores, such as 4-7 or 0,2.")
    ] = None,
    scenario: Annotated[
        Literal["single-stream", "offline"],
        typer.Option(help="Latency of one inference at a time, or throughput of batches on all cores."),
    ] = "single-stream",
    option: RuntimeOptions = None,
    replicates: Annotated[int, typer.Option(min=1, help="Fresh processes, each one sample of the median.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=86_400, callback=finite, help="Shortest time per replicate.")
    ] = 1.0,
    count: Annotated[int, typer.Option(min=1, help="Fewest inferences per replicate.")] = 50,
    strict: Annotated[bool, typer.Option(help="Follow MLPerf Mobile's rules; exit 1 if one is broken.")] = False,
    data: LabelledData = None,
    metric: Metric = None,
    any_range: AnyRange = False,
    out: Annotated[Path | None, typer.Option(help="Append the rows to this results.jsonl.")] = None,
    as_json: Json = False,
) -> None:
    """Measure latency, throughput, memory and, with data, the task's metric on a device."""
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.pipeline.bench import bench_bundles
    from edgekd.pipeline.fleet import parse_devices
    from edgekd.reporting.benchmark import bench_table

    rows = bench_bundles(
        [bundle, *([against] if against else [])], parse_devices(device or (), fleet, provision),
        batch=batch, threads=threads, affinity=affinity, scenario=scenario, options=option or [],
        replicates=replicates, seconds=seconds, count=count, by_mlperf=strict, data=data, any_range=any_range, out=out,
        metric=metric, inputs=inputs, shapes=parse_shapes(shape or []), reporter=reporter_for(None, as_json),
    )  # fmt: skip
    show(rows, as_json, bench_table, last_line.of_bench)
    if any("error" in row for row in rows):
        raise typer.Exit(DEVICE_LOST)
    if any(row.get("strict", {}).get("broken") for row in rows):
        raise typer.Exit(1)


@command(
    "Export and measure",
    "edgekd profile bundles/model-x86-openvino",
    "edgekd profile bundles/model-x86-tflite --against bundles/model-x86-tflite-float",
    "edgekd profile model.onnx --shape input=1,3,224,224 --trace layers.json --html layers.html",
)
def profile(
    model: Annotated[Path, typer.Argument(help="A bundle folder, or a .tflite, .onnx or .xml file.")],
    device: Devices = None,
    fleet: Fleet = None,
    provision: Provision = False,
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="Inferences that are counted.")] = 100,
    batch: BatchSize = None,
    threads: Threads = None,
    option: RuntimeOptions = None,
    inputs: Inputs = None,
    shape: Shape = None,
    against: Annotated[
        Path | None, typer.Option(help="The same network in float: what each layer would cost and win as it is there.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Write the layers as a Chrome trace, for Perfetto.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the layers as a page.")] = None,
    as_json: Json = False,
) -> None:
    """Say what each layer takes on a device, the longest first, and what it loses in int8.

    Of a bundle for an NPU that is not here, its compiler's estimate is shown.
    """
    from edgekd.files import write_json
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.pipeline.bench import parse_options
    from edgekd.pipeline.estimate import estimate_of
    from edgekd.pipeline.fleet import parse_devices
    from edgekd.pipeline.profile import profile_on_each
    from edgekd.pipeline.profile import trace as traced
    from edgekd.reporting.estimate import estimate_view
    from edgekd.reporting.layers_page import write_layers_page
    from edgekd.reporting.profile import profile_parts, profile_view

    of_a_device = {
        "--device": device, "--fleet": fleet, "--provision": provision, "--batch": batch, "--threads": threads,
        "--option": option,
    }  # fmt: skip
    written = {"--trace": trace, "--html": html}
    estimate = estimate_of(model, [name for name, given in (of_a_device | written).items() if given])
    if estimate is not None:
        show({"bundle": str(model)} | estimate.model_dump(mode="json"), as_json, estimate_view, last_line.of_estimate)
        return
    outcomes = profile_on_each(
        model, parse_devices(device or (), fleet, provision), runs=runs, batch=batch, threads=threads,
        options=parse_options(option or []), shapes=parse_shapes(shape or []), inputs=inputs,
        against=against, reporter=reporter_for(None, as_json),
    )  # fmt: skip
    if trace is not None:
        write_json(trace, traced(next(outcome.result for outcome in outcomes if outcome.result is not None)))
    rows = [
        outcome.result.model_dump(mode="json")
        if outcome.result
        else {"device": outcome.uri, "error": str(outcome.error)}
        for outcome in outcomes
    ]
    found = [row for row in rows if "error" not in row]
    if html is not None:
        write_layers_page(html, model.name, profile_parts(found))
    shown = rows if as_json else found  # what failed is said already
    show(shown if len(rows) > 1 else shown[0], as_json, profile_view, last_line.of_profile)
    if len(found) < len(rows):
        raise typer.Exit(DEVICE_LOST)


@command(
    "Export and measure",
    "edgekd verify bundles/model-x86-tflite",
    "edgekd verify bundles/model-raspberry-pi-5 --device ssh://pi.local --data test.npz",
    "edgekd verify model.tflite --reference model.onnx --inputs samples.npz",
)
def verify(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle folder or, with --reference, a .tflite, .onnx or .xml file.")
    ],
    device: Devices = None,
    fleet: Fleet = None,
    provision: Provision = False,
    data: LabelledData = None,
    metric: Metric = None,
    any_range: AnyRange = False,
    reference: Annotated[
        Path | None, typer.Option(help="Compare with the outputs of this bundle or file instead of golden ones.")
    ] = None,
    least_db: Annotated[
        float, typer.Option(callback=finite, metavar="DB", help="With --reference: least signal to noise of an output.")
    ] = 20.0,
    inputs: Inputs = None,
    shape: Shape = None,
    as_json: Json = False,
) -> None:
    """Compare a device's outputs with the reference; exit 1 if they differ, 4 if nothing could be proven."""
    from edgekd.pipeline.fleet import parse_devices
    from edgekd.pipeline.verify import verify_on_each
    from edgekd.reporting.device import verify_view

    members = parse_devices(device or (), fleet, provision)
    if reference is not None:
        if data is not None or metric is not None:
            raise BadInputError("--reference compares outputs: leave out --data and --metric")
        _verify_against(bundle, reference, members, least_db, inputs, shape or [], as_json)
        return
    if inputs is not None or shape:
        raise BadInputError("--inputs and --shape are for --reference: a bundle has its own golden inputs")
    verdicts = verify_on_each(bundle, members, data, reporter_for(None, as_json), any_range=any_range, metric=metric)
    show(verdicts if len(members) > 1 else verdicts[0], as_json, verify_view, last_line.of_verify)
    if any("error" in verdict for verdict in verdicts):
        raise typer.Exit(DEVICE_LOST)
    if any(not (verdict["ok"] or verdict["unproven"]) for verdict in verdicts):
        raise typer.Exit(1)
    for verdict in verdicts:
        if verdict["unproven"]:
            raise NotProvenError(verdict["unproven"])


def _verify_against(
    model: Path, reference: Path, members: Sequence["Member"], least_db: float, inputs: Path | None,
    shape: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.pipeline.against import verify_against
    from edgekd.reporting.comparison import against_view

    verdicts = verify_against(
        model, reference, members, shapes=parse_shapes(shape), inputs=inputs, least_db=least_db,
        reporter=reporter_for(None, as_json),
    )  # fmt: skip
    rows = [verdict.model_dump(mode="json") for verdict in verdicts]
    show(rows if len(rows) > 1 else rows[0], as_json, against_view, last_line.of_against)
    if any(verdict.error for verdict in verdicts):
        raise typer.Exit(DEVICE_LOST)
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)
