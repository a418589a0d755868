"""The C runner beside run.py on the same bundles: the same answers, records and exit codes."""

import json
import math
import os
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.backends.tflite.runtime import LiteRT
from edgekd.bundle import load_bundle
from edgekd.devices import Finished
from edgekd.devices.local import LocalDevice
from edgekd.measure.protocol import Session, parse
from edgekd.measure.records import Golden, Kernels, Load, Predictions, Start, Timing
from edgekd.runner.judge import judge, tightened
from edgekd.target import load_target
from tests.export import runner
from tests.export.c_runner import LIBRARIES, LIBRARY, build, call, failure, succeed
from tests.export.test_integer_io import integer_bundle
from tests.measure.bundles import Array, MakeBundle, edit_manifest, golden, rehash

__all__ = ["integer_bundle"]
QUICK = ("--seconds", "0.01", "--count", "20", "--warmup", "2")


def save_golden(folder: Path, outputs: Array) -> None:
    """Other expectations, properly listed."""
    arrays = {"input:input": golden(folder, "input:input"), "output:logits": outputs}
    np.savez(folder / "golden.npz", **arrays)
    rehash(folder)


def predict(program: Path | None, folder: Path, inputs: Array, *arguments: str) -> Array:
    """By the C runner, or without one by run.py."""
    source, result = folder.parent / "in.npz", folder.parent / f"{'c' if program else 'python'}.npz"
    np.savez(source, input=inputs)
    words = ["--input", str(source), "--output", str(result), *arguments]
    code, records = call(program, "predict", folder, *words) if program else runner.run("predict", folder, *words)
    assert (code, records[2]["n"]) == (0, len(inputs))
    with np.load(result) as outputs:
        assert outputs.files == ["logits"]
        return outputs["logits"]


@pytest.mark.parametrize("precision", ["int8", "float"])
@pytest.mark.parametrize("batch", ["1", "8", "5"])
def test_predictions_are_run_pys(program: Path, bundle: MakeBundle, tmp_path: Path, precision: str, batch: str) -> None:
    """TFLite 2.17.1 and LiteRT 2.3 have other versions of XNNPACK: one step where a tie is rounded the other way, or
    some hundred float32 roundings, which are 1e-4 of the range."""
    folder = Path(shutil.copytree(bundle("tflite", precision), tmp_path / "bundle"))
    inputs = golden(folder, "input:input")
    here, there = (predict(one, folder, inputs, "--batch", batch) for one in (program, None))
    unit = json.loads((folder / "manifest.json").read_text())["outputs"][0]["step"] if precision == "int8" else None
    assert (here.shape, here.dtype) == (there.shape, there.dtype)
    assert np.abs(here - there).max() <= (unit * 1.001 if unit else 1e-4 * np.ptp(there))


@pytest.mark.parametrize("verb", ["build", "verify", "bench"])
def test_records_are_run_pys(program: Path, folder: Path, verb: str) -> None:
    """Field by field, and where they do not depend on time or version also value by value."""
    arguments = (*QUICK, "--batch", "2") if verb == "bench" else ("--batch=2",)
    (code, here), (other, there) = call(program, verb, folder, *arguments), runner.run(verb, folder, *arguments)
    assert code == other == 0
    assert [record["record"] for record in here] == [record["record"] for record in there]
    for one, two in zip(here, there, strict=True):
        assert set(one) == set(two)
    assert here[0]["machine"] == there[0]["machine"]
    own = {"pid", "runtime", "runtime_version", "python"}
    assert {key: here[0][key] for key in here[0].keys() - own} == {key: there[0][key] for key in there[0].keys() - own}
    if verb == "build":
        assert here[2] == there[2]  # the same kernels, and the same partition taken by XNNPACK


def test_the_host_reads_what_it_says(program: Path, folder: Path) -> None:
    np.savez(folder.parent / "in.npz", input=golden(folder, "input:input"))
    files = ("--input", str(folder.parent / "in.npz"), "--output", str(folder.parent / "out.npz"))
    verbs = {("build",): ("kernels", Kernels), ("verify",): ("golden", Golden)}
    verbs |= {("bench", *QUICK): ("latency", Timing), ("predict", *files): ("predictions", Predictions)}
    for (verb, *arguments), (kind, model) in verbs.items():
        done = subprocess.run([program, verb, folder, *arguments], capture_output=True, text=True)
        answer = parse(Finished(done.returncode, done.stdout, done.stderr))
        start, load = answer.every("start", Start)[0], answer.every("load", Load)[0]
        assert answer.end.ok
        assert answer.every(kind, model)
        assert (start.runtime, start.python, load.details["library"]) == ("LiteRT C", None, Path(LIBRARY).name)


def test_bench_keeps_every_sample_and_takes_what_run_py_takes(program: Path, folder: Path) -> None:
    core = min(os.sched_getaffinity(0))
    edit_manifest(folder, affinity=str(core))
    for arguments in (["--scenario=offline"], ["--threads=1", "--affinity", str(core)]):
        code, records = call(program, "bench", folder, *QUICK, *arguments)
        latency = records[2]
        assert code == 0
        assert len(latency["samples_ms"]) >= 20
        assert min(latency["samples_ms"]) > 0
        # of the 10 ms that were asked for the clock's own calls take the rest, and whoever took the CPU in between
        assert sum(latency["samples_ms"]) >= 9 or latency["involuntary_switches"] > 0
        assert latency["affinity"] == [core]
        assert 1 < latency["peak_rss_mb"] < 200
        assert latency["scenario"] == ("offline" if "offline" in arguments[0] else "single-stream")


def test_only_what_the_model_holds_is_its_memory(program: Path, folder: Path) -> None:
    """100 MB that no runtime touches were once mapped and read to learn what precision the model allows."""
    os.truncate(folder / "model.tflite", 100_000_000)
    rehash(folder)
    _, records = call(program, "bench", folder, *QUICK)
    assert 0 < records[2]["model_rss_mb"] < 50


@pytest.mark.parametrize(
    "tolerance", [{"max_steps": 8.0, "agreement": 0.99}, {}, {"p999_steps": 1.0}, {"agreement": 0.5}]
)
@pytest.mark.parametrize("change", ["none", "rolled", "nan", "one outlier", "noise", "no step", "flat"])
def test_golden_verdicts_are_run_pys(program: Path, folder: Path, tolerance: dict[str, float], change: str) -> None:
    """On the C runner's own outputs, by the functions that run.py has: equal to twelve digits, as sums are added up in
    another order."""
    outputs, inputs = golden(folder, "output:logits"), golden(folder, "input:input")
    (spec,) = json.loads((folder / "manifest.json").read_text())["outputs"]
    unit, random = spec["step"], np.random.default_rng(0)
    changed = {
        "rolled": lambda: np.roll(outputs, 1, axis=1),
        "nan": lambda: np.where(outputs == outputs.max(), np.float32(np.nan), outputs),
        "one outlier": lambda: outputs + 6 * unit * (np.arange(outputs.size) == 3).reshape(outputs.shape),
        "noise": lambda: outputs + random.normal(0, 3 * unit, outputs.shape),
        "flat": lambda: np.full_like(outputs, 0.25),
    }
    spec |= {"noise": {"noise": 3 * unit}, "no step": {"step": None}, "flat": {"step": None}}.get(change, {})
    save_golden(folder, changed.get(change, lambda: outputs)().astype(np.float32))
    edit_manifest(folder, tolerance=tolerance, outputs=[spec])
    assert_same_verdict(program, folder, spec, tolerance, predict(program, folder, inputs))


def assert_same_verdict(
    program: Path, folder: Path, spec: dict[str, Any], tolerance: dict[str, float], outputs: Array
) -> None:
    code, records = call(program, "verify", folder)
    limits = tightened(LiteRT.TOLERANCE, tolerance)
    expected = judge(spec, golden(folder, f"output:{spec['name']}"), outputs, limits)
    assert set(records[2]) == {"record", *expected}
    for key, value in expected.items():
        assert records[2][key] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), key
    found = (0, None) if expected["ok"] else (4, "not-proven") if expected["unproven"] else (1, "mismatch")
    assert (code, records[-1].get("kind")) == found


def test_integers_travel_as_stored(program: Path, integer_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(integer_bundle, tmp_path / "bundle"))
    outputs = predict(program, folder, golden(folder, "input:input"))
    assert outputs.dtype == np.int8
    (spec,) = json.loads((folder / "manifest.json").read_text())["outputs"]
    assert_same_verdict(program, folder, spec, {"max_steps": 2.0, "agreement": 0.99}, outputs)


@pytest.mark.parametrize("noise", [None, 0.004, 0.5])
def test_indices_are_judged_as_run_py_judges_them(
    program: Path, integer_bundle: Path, tmp_path: Path, noise: Any
) -> None:
    """What has no scale is an index; of the golden ones one in a hundred is another here."""
    folder = Path(shutil.copytree(integer_bundle, tmp_path / "bundle"))
    outputs = predict(program, folder, golden(folder, "input:input"))
    (spec,) = json.loads((folder / "manifest.json").read_text())["outputs"]
    spec |= {"scale": None, "zero_point": None, "step": None, "noise": noise}
    save_golden(folder, np.where(np.arange(outputs.size).reshape(outputs.shape) % 100 == 7, outputs + 1, outputs))
    edit_manifest(folder, tolerance={}, outputs=[spec])
    assert_same_verdict(program, folder, spec, {}, outputs)


SEVERAL = """<ir_version: 8, opset_import: ["": 18]>
g (float[N,4] a, int64[N,3] ids) => (float[N,3,2] y, float[N,3] z)
<float[5,2] table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, float[4,3] weight = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}>
{ y = Gather <axis = 0> (table, ids)
  z = MatMul (a, weight) }"""


def test_several_inputs_and_outputs_find_their_places(program: Path, tmp_path: Path) -> None:
    model, random = onnx.parser.parse_model(SEVERAL), np.random.default_rng(0)
    inputs = {"a": random.normal(size=(40, 4)).astype(np.float32), "ids": random.integers(0, 5, (40, 3))}
    outputs = Reference(model).run(inputs)
    write_bundle(model, load_target("x86-tflite"), tmp_path, "float", name="net", inputs=inputs, outputs=outputs)
    code, records = call(program, "verify", tmp_path, "--batch=7")
    assert code == 0
    assert [record["output"] for record in records[2:4]] == ["y", "z"]
    assert max(record["max_steps"] for record in records[2:4]) < 0.01  # float: a step is 1/255 of the range


def test_inputs_in_fortran_order_are_the_same_inputs(program: Path, folder: Path) -> None:
    inputs = golden(folder, "input:input")
    np.testing.assert_array_equal(predict(program, folder, np.asfortranarray(inputs)), predict(program, folder, inputs))


def test_names_survive_as_json(program: Path, folder: Path) -> None:
    name = 'a "bundle"\\ of\n\x01 größe, 日本 and 😀'
    edit_manifest(folder, name=name)
    assert call(program, "build", folder)[1][0]["bundle"] == name
    argument = os.fsencode(folder) + b"\xff\xc3"
    finished = subprocess.run([program, "build", argument], capture_output=True)
    assert json.loads(finished.stdout)["error"].startswith(f"{folder}\ufffd\ufffd: not a bundle")


def test_a_missing_library_is_a_missing_runtime(program: Path, folder: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(program, tmp_path))
    code, kind, message = failure(alone, "build", folder)
    assert (code, kind) == (3, "missing-runtime")
    assert "--option library=PATH" in message
    assert call(alone, "build", folder, "--option", f"library={LIBRARIES['x86_64']}")[0] == 0
    (tmp_path / "libtensorflowlite_c.so").write_text("no library")
    assert failure(alone, "build", folder)[:2] == (3, "missing-runtime")


@pytest.mark.parametrize(("option", "delegated"), [("delegate=xnnpack", True), ("delegate=none", False)])
def test_delegation_is_an_option_and_counted(program: Path, folder: Path, option: str, delegated: bool) -> None:
    _, records = call(program, "build", folder, "--option", option)
    assert ("DELEGATE" in records[2]["ops"]) == delegated
    edit_manifest(folder, runtime={"delegate": "none"})
    assert "DELEGATE" not in call(program, "build", folder)[1][2]["ops"]


def library_without(folder: Path, name: str) -> Path:
    """TensorFlow Lite's library as if it had been built without a function."""
    content = LIBRARIES["x86_64"].read_bytes()
    assert f"\0{name}\0".encode() in content
    (folder / "older.so").write_bytes(content.replace(f"\0{name}\0".encode(), f"\0-{name[1:]}\0".encode()))
    return folder / "older.so"


@pytest.mark.parametrize("name", ["TfLiteXNNPackDelegateCreate", "TfLiteXNNPackDelegateOptionsDefault"])
def test_a_library_without_xnnpack_does_not_pass_for_one(
    program: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    library = f"--option=library={library_without(tmp_path, name)}"
    code, kind, message = failure(program, "build", folder, library)
    assert (code, kind) == (3, "missing-runtime")
    assert "older.so was built without XNNPACK" in message
    assert call(program, "verify", folder, library, "--option", "delegate=none")[0] == 0


def test_a_library_that_lists_no_nodes_leaves_the_census_open(program: Path, folder: Path, tmp_path: Path) -> None:
    library = library_without(tmp_path, "TfLiteOpaqueDelegateCreate")
    with closing(LocalDevice("local:", runner=program)) as device:
        kernels = Session(device, folder, {"library": str(library)}).operator_coverage()
    assert (kernels.int8, kernels.total, kernels.delegated, kernels.fallback) == (None,) * 4
    assert kernels.how == "not told: the library has no functions to list its nodes"


def test_a_library_that_lacks_a_function_is_named_by_it(program: Path, folder: Path, tmp_path: Path) -> None:
    library = library_without(tmp_path, "TfLiteInterpreterInvoke")
    assert "has no TfLiteInterpreterInvoke" in failure(program, "build", folder, f"--option=library={library}")[2]


IDLE_DELEGATE = """
static struct { void *data; int (*prepare)(void *, void *); void *copies[3]; long long flags; void *builder; } delegate;
static int take_nothing(void *context, void *self) { return context && self ? 0 : 1; }
void *tflite_plugin_create_delegate(char **keys, char **values, unsigned long count, void (*report)(const char *)) {
    delegate.prepare = take_nothing, delegate.flags = 1;
    return report && !count ? &delegate : 0;
}
void tflite_plugin_destroy_delegate(void *self) {}
"""


def test_what_a_delegates_library_leaves_is_counted(program: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "idle.c").write_text(IDLE_DELEGATE)
    succeed("gcc", "-shared", "-fPIC", "-o", tmp_path / "idle.so", tmp_path / "idle.c")
    option = ("--option", f"delegate={tmp_path}/idle.so")
    (_, here), (_, there) = call(program, "build", folder, *option), runner.run("build", folder, *option)
    assert here[2] == there[2]
    assert (here[2]["delegated"], here[2]["ops"]["DELEGATE"]) == (0, 1)  # XNNPACK took what it left
    assert here[1]["details"]["delegate"] == "idle.so"
    assert call(program, "verify", folder, *option)[0] == 0


def test_ctrl_c_ends_it_without_a_record_of_success(program: Path, folder: Path) -> None:
    process = subprocess.Popen([program, "bench", folder, "--seconds=60"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["record"] for _ in range(2)] == ["start", "load"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 130


def test_runs_from_inside_the_bundle(program: Path, folder: Path) -> None:
    for name in (program.name, "libtensorflowlite_c.so"):
        shutil.copy(program.parent / name, folder / name)
    assert call(folder / program.name, "verify")[0] == 0


def test_the_same_bundle_on_aarch64(program: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Emulated: the kernels are those of the Cortex-A76. One step, where its fixed point rounds a tie the other way."""
    foreign, inputs = build(tmp_path_factory.mktemp("aarch64"), "aarch64"), golden(folder, "input:input")
    code, records = call(foreign, "verify", folder)
    assert (code, records[0]["machine"]["arch"], records[2]["ok"]) == (0, "aarch64", True)
    assert call(foreign, "build", folder)[1][2] == call(program, "build", folder)[1][2]
    unit = load_bundle(folder).outputs[0].step
    assert unit is not None
    here, there = predict(program, folder, inputs), predict(foreign, folder, inputs, "--batch=8")
    assert np.abs(here - there).max() <= unit * 1.001
    assert math.isfinite(call(foreign, "bench", folder, *QUICK)[1][2]["first_ms"])
