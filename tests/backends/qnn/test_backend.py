"""What goes to Qualcomm's HTP: proven in the vendor's emulator, whole and in integers, or refused by name."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.placement import Placement
from edgekd.backends.qnn.compile import compile as compile_qnn
from edgekd.backends.qnn.compiler import Answer
from edgekd.backends.reference import Reference
from edgekd.bundle import Manifest
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.pipeline.estimate import estimate_of
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.reporting.estimate import estimate_view
from edgekd.target import Target, load_target
from tests.export.runner import run
from tests.factories import Array, Net, normalised

emulated = pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="pip install 'edgekd[qnn]'")
TARGET = load_target("snapdragon-8-gen3")


def quantized(build: Callable[[Net, str], str], shape: tuple[int, ...] = (8, 8, 8)) -> tuple[onnx.ModelProto, Array]:
    """A small network in HTP's scheme, and samples of its inputs."""
    net = Net(0, shape)
    body = build(net, "input")
    plain = net.model(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", body)), 8, 6))
    x = net.inputs(16)
    plain = normalised(plain, x)
    return calibrate(plain, find_scheme(TARGET.scheme), [{"input": x}]), x


def joined(net: Net, x: str) -> str:
    """A residual sum, a GELU, and a Concat whose parts share a scale: its ReLU cannot vanish in the quantiser."""
    first = net.op("Add", net.relu(net.conv(x, 8, 8)), net.conv(x, 8, 8, 1))
    erf = net.op("Erf", net.op("Mul", first, net.constant(0.5**0.5)))
    gelu = net.op("Mul", net.op("Mul", first, net.op("Add", erf, net.constant(1.0))), net.constant(0.5))
    parts = net.op("Concat", net.relu(net.conv(gelu, 8, 8)), net.conv(gelu, 8, 8), axis=1)
    return net.conv(parts, 16, 8)


@dataclass(frozen=True)
class Made:
    """A bundle for the emulator."""

    folder: Path
    manifest: Manifest
    placement: Placement


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    model, x = quantized(joined)
    folder = tmp_path_factory.mktemp("qnn") / "bundle"
    outputs = Reference(model).run({"input": x})
    manifest = write_bundle(model, TARGET, folder, "int8", name="net", inputs={"input": x}, outputs=outputs)
    return Made(folder, manifest, Placement.parse(json.loads((folder / "placement.json").read_text()), "placement"))


@emulated
def test_all_of_a_network_is_integers_on_the_npu(made: Made) -> None:
    assert made.placement.islands == 1
    assert {(op.unit, op.precision) for op in made.placement.ops} == {("NPU", "integer")}
    assert {"Gelu", "Concat", "Conv", "Relu"} <= {op.op for op in made.placement.ops}
    assert made.manifest.notes == ()


@emulated
def test_the_context_is_vouched_for_and_borders_are_integers(made: Made) -> None:
    assert {"model.onnx", "context.onnx", "placement.json"} <= set(made.manifest.files)
    (source,), (answer,) = made.manifest.inputs, made.manifest.outputs
    assert (source.dtype, source.shape, answer.dtype) == ("uint8", (1, 8, 8, 8), "uint8")
    assert source.scale is not None
    assert made.placement.compiled == made.manifest.files["context.onnx"]
    assert made.manifest.footprint == {"context_bytes": (made.folder / "context.onnx").stat().st_size}


@emulated
def test_the_emulators_answers_are_the_references_and_it_tells_no_time(made: Made) -> None:
    """Four steps: each operation may round the other way, which was measured to add up to 3.7 in a DS-CNN."""
    code, records = run("verify", made.folder)
    by_kind = {record["record"]: record for record in records}
    assert code == 0
    assert by_kind["golden"]["max_steps"] <= 4
    details = by_kind["load"]["details"]
    assert details.pop("qairt") in made.placement.source
    assert details == {"device": "HTP v75 of SM8650, emulated", "prepared": "ahead of time"}
    code, records = run("bench", made.folder, "--option", "cpu=refused")
    assert code == 0
    assert [record["record"] for record in records] == ["start", "load", "footprint", "end"]


@emulated
def test_profile_shows_where_each_layer_is_and_no_time(made: Made) -> None:
    estimate = estimate_of(made.folder)
    assert estimate == made.placement
    (section,) = estimate_view({"bundle": "net"} | made.placement.model_dump(mode="json")).sections
    assert "net on HTP v75 of SM8650 in 1 part by the HTP's compiler of QAIRT 2" in str(section.head)
    assert {row[2] for row in section.rows} == {"NPU, integer"}


def refusal(model: onnx.ModelProto, target: Target, folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        compile_qnn(model, target, folder, "int8")
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())
    return str(caught.value)


def with_erf(net: Net, x: str) -> str:
    return net.op("Erf", net.conv(x, 8, 8))


@emulated
def test_an_operation_that_only_the_cpu_has_is_refused_by_name_unless_allowed(tmp_path: Path) -> None:
    model, _ = quantized(with_erf)
    told = refusal(model, TARGET, tmp_path)
    assert "Erf 'erf_1' on the CPU" in told
    patient = TARGET.model_copy(update={"npu_share": 0.6, "runtime": {**TARGET.runtime, "cpu": "allowed"}})
    assert "npu_share = 0." in told
    notes = compile_qnn(model, patient, tmp_path, "int8").notes
    assert any("Erf 'erf_1' on the CPU" in note for note in notes)


def with_hardswish(net: Net, x: str) -> str:
    return net.op("HardSwish", net.conv(x, 8, 8))


@emulated
def test_a_layer_that_would_compute_in_float_is_refused_by_name(tmp_path: Path) -> None:
    """Without the quantiser between them, HTP's compiler takes layer and activation for float16, and says nothing."""
    model, _ = quantized(with_hardswish)
    graph = onnx.shape_inference.infer_shapes(model)
    nodes = {node.op_type: node for node in graph.graph.node}
    nodes["HardSwish"].input[0] = nodes["Conv"].output[0]
    told = refusal(graph, TARGET, tmp_path)
    assert "Conv" in told
    assert "float16" in told or "on the CPU" in told


def with_instance_norm(net: Net, x: str) -> str:
    gain, shift = net.constant(np.ones(8)), net.constant(np.zeros(8))
    return net.op("InstanceNormalization", net.conv(x, 8, 8), gain, shift)


@emulated
def test_float_beside_integers_is_told_and_refused_by_a_chip_that_has_none(tmp_path: Path) -> None:
    """A norm is no layer: in float16 it may stay on the NPU, where that has float16."""
    model, _ = quantized(with_instance_norm)
    told = refusal(model, load_target("rb3-gen2"), tmp_path)
    assert "InstanceNormalization of such tensors for 'instancenormalization_1': it computes in integers alone" in told
    notes = compile_qnn(model, TARGET, tmp_path, "int8").notes
    assert any("InstanceNormalization 'instancenormalization_1' in float16" in note for note in notes)


@pytest.mark.parametrize("options", [{"htp_arch": "99", "soc_model": "57"}, {"htp_arch": "79", "soc_model": "57"}, {}])
def test_a_chip_that_there_is_not_is_refused(options: dict[str, str], tmp_path: Path) -> None:
    """The vendor's own library takes any of them without a word."""
    wrong = TARGET.model_copy(update={"runtime": options})
    with pytest.raises(BadInputError, match=r"htp_arch"):
        compile_qnn(onnx.ModelProto(), wrong, tmp_path, "int8")


TRACE = {"soc_traces": [{"compilation_target": {"htp_arch": "", "soc_model": 57}}], "subgraph_traces": []}
GRAPH: dict[str, object] = {"graph": {"nodes": {}, "tensors": {}}}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "takes 0.0% of the model.* the compiler has put nothing on the NPU"),
        ({"qnn_op_trace.json": TRACE, "part.json": GRAPH}, "asked for v75, but did not compile for it"),
    ],
)
def test_what_the_vendors_library_passes_over_is_refused(
    told: dict[str, object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends well and leaves all to the CPU, or names no architecture where it was asked for one it does not know."""

    def compiled(folder: Path, *_: str) -> Answer:
        (folder / "told").mkdir()
        for name, content in told.items():
            (folder / "told" / name).write_text(json.dumps(content))
        return Answer(None, "2.51.0")

    monkeypatch.setattr("edgekd.backends.qnn.compile.compiled", compiled)
    monkeypatch.setattr("edgekd.backends.qnn.compile.find_spec", lambda name: name)
    model, _ = quantized(with_hardswish)
    assert re.search(reason, refusal(model, TARGET, tmp_path))


def test_without_the_compiler_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.backends.qnn.compile.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"edgekd\[qnn\]"):
        compile_qnn(onnx.ModelProto(), TARGET, tmp_path, "int8")
