"""What is written for Arm's Ethos-U: placement by operator, refusals by name, and the very file that was compiled."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends.alternatives import compile_for
from edgekd.backends.compiled import Compiled
from edgekd.backends.ethos_u import build
from edgekd.backends.ethos_u.accelerators import ACCELERATORS, SYSTEMS, systems_of
from edgekd.backends.ethos_u.compile import compile as compile_ethos_u
from edgekd.backends.placement import PLACEMENT, Placement
from edgekd.backends.tflite.convert import Converted, convert
from edgekd.backends.tflite.flatbuffer import pack, unpack
from edgekd.backends.tflite.ops import ops_of
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.files import sha256
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.target import Limits, Target, load_target
from tests import factories
from tests.factories import Net
from tests.small_run import complaint, edgekd

TARGETS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
U55 = load_target(TARGETS[0])
WITH_CPU = U55.model_copy(update={"compiler": {**U55.compiler, "allow_cpu": True}})


def net(make: Callable[[Net], str]) -> onnx.ModelProto:
    made = Net(1, (3, 16, 16))
    return factories.quantize(made.model(make(made)), made.inputs(8))


def calibrated(make: Callable[[Net], str], scheme: str) -> onnx.ModelProto:
    """As the product quantises, which leaves in float what a scheme does not have in integers."""
    made = Net(1, (3, 16, 16))
    return calibrate(made.model(make(made)), find_scheme(scheme), [{"input": made.inputs(8)}])


def doubtful(made: Net) -> str:
    """A convolution, an op that no int8 kernel has, a convolution."""
    return made.conv(made.op("Sin", made.conv("input", 3, 4)), 4, 4)


def decoder(made: Net) -> str:
    """What NPUs take only in a form of their own: a transposed convolution, the mean of a whole map, a sigmoid."""
    x = made.relu(made.conv("input", 3, 8, strides=[2, 2]))
    up = made.op("ConvTranspose", x, made.constant(made.rng.normal(0, 0.3, (8, 4, 2, 2))), strides=[2, 2])
    pooled = made.op("AveragePool", made.conv(up, 4, 4), kernel_shape=[16, 16], strides=[16, 16])
    return made.op("Sigmoid", made.gemm(made.op("Flatten", pooled), 4, 3))


def gated(made: Net) -> str:
    """MobileNetV3's block: an activation, and channels weighted by what a small network makes of their means."""
    x = made.op("HardSwish", made.conv("input", 3, 8))
    gate = made.op("HardSigmoid", made.conv(made.op("GlobalAveragePool", x), 8, 8, kernel=1), alpha=1 / 6)
    return made.conv(made.op("Mul", x, gate), 8, 4)


def placement(folder: Path) -> Placement:
    return Placement.parse(json.loads((folder / PLACEMENT).read_text()), PLACEMENT)


def compiled(model: onnx.ModelProto, target: Target, folder: Path) -> tuple[Compiled, Placement]:
    made = compile_for(model, target, folder, "int8")
    return made, placement(folder)


@pytest.mark.parametrize("name", TARGETS)
def test_forms_that_the_npu_takes_are_chosen(name: str, tmp_path: Path) -> None:
    made, found = compiled(net(decoder), load_target(name), tmp_path)
    assert {op.op: op.unit for op in found.ops}.items() >= {"TRANSPOSE_CONV": "NPU", "LOGISTIC": "NPU"}.items()
    assert found.on_cpu == ()
    assert made.notes == ()
    assert [op.code for op in ops_of((tmp_path / "model_vela.tflite").read_bytes())] == ["CUSTOM"]
    assert made.footprint["npu_cycles_estimate"] == found.cycles > 1000
    assert sum(op.cycles for op in found.ops) >= 0.9 * found.cycles  # a layer may wait for the one before it
    assert 16 * 16 * 4 <= found.sram_bytes < 100_000  # one map at least


def test_of_a_float_border_only_the_outer_quantisers_are_left(tmp_path: Path) -> None:
    _, found = compiled(net(decoder), U55.model_copy(update={"io": "float"}), tmp_path)
    assert [(op.op, op.reason) for op in found.on_cpu] == [("QUANTIZE", None), ("DEQUANTIZE", None)]


def test_the_placement_names_the_files_that_it_is_of(tmp_path: Path) -> None:
    made, found = compiled(net(decoder), U55, tmp_path)
    assert set(made.files) == {"model.tflite", "model_vela.tflite", PLACEMENT}
    assert found.model.sha256 == sha256(tmp_path / "model.tflite")
    assert found.compiled.sha256 == sha256(tmp_path / "model_vela.tflite")
    assert made.inputs[0].shape == (1, 16, 16, 3)
    assert found.source.startswith("Vela ")


def test_what_the_npu_does_not_take_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        compile_for(net(doubtful), U55, tmp_path, "int8")
    message = str(caught.value)
    assert message.startswith("node 'sin_1' (Sin) is not for ethos-u55-128: TFLite has no int8 Sin; compiler.allow_cpu")
    assert "these targets take it: " in message
    assert caught.value.hint.startswith("edgekd export MODEL --target x86-")
    assert not list(tmp_path.iterdir())


def test_what_the_cpu_may_have_is_told(tmp_path: Path) -> None:
    made, found = compiled(net(doubtful), WITH_CPU, tmp_path)
    assert made.notes == ("node 'sin_1' (Sin) is not for ethos-u55-128: TFLite has no int8 Sin",)
    left = [op.op for op in found.on_cpu]
    assert left == ["DEQUANTIZE", "SIN", "QUANTIZE"]
    assert found.islands == 2  # before and after it
    assert made.footprint["cpu_ops"] == len(left)
    assert {op.cycles for op in found.on_cpu} == {0}  # which is why totals of unequal placement do not compare


def test_a_float_activation_that_vela_does_not_read_is_written_in_parts(tmp_path: Path) -> None:
    model = calibrated(gated, "int8-asymmetric")
    with pytest.raises(BadInputError, match=r"node 'hardswish_1' \(HardSwish\) is not for ethos-u55-128: its output"):
        compile_ethos_u(model, U55, tmp_path, "int8")
    _, found = compiled(model, WITH_CPU, tmp_path)
    assert {"MUL", "ADD", "MINIMUM"} <= {op.op for op in found.on_cpu if "HardSwish" in op.node}


@pytest.mark.parametrize("name", TARGETS)
def test_channels_are_weighed_on_the_npu(name: str, tmp_path: Path) -> None:
    """What its scheme has in integers, the NPU takes: a hard swish, which two read, a hard sigmoid and a product."""
    target = load_target(name)
    _, found = compiled(calibrated(gated, target.scheme), target, tmp_path)
    assert found.on_cpu == ()
    assert found.islands == 1


def without_inputs(content: bytes) -> bytes:
    """The third operator reads nothing, which Vela does not survive."""
    model = unpack(content)
    model.subgraphs[0].operators[2].inputs = []
    return pack(model)


def with_one_input(content: bytes) -> bytes:
    """The third operator has no weights, which Vela says without naming it."""
    model = unpack(content)
    model.subgraphs[0].operators[2].inputs = model.subgraphs[0].operators[2].inputs[:1]
    return pack(model)


@pytest.mark.parametrize(("damage", "why"), [(without_inputs, "SIGSEGV"), (with_one_input, "Index out of bounds; ")])
def test_whatever_vela_fails_over_is_named(
    damage: Callable[[bytes], bytes], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*arguments: Any, **options: Any) -> Converted:
        made = convert(*arguments, **options)
        return replace(made, content=damage(made.content))

    monkeypatch.setattr(build, "convert", damaged)
    told = r"^node 'convtranspose_2' \(ConvTranspose\) is not for ethos-u55-128: Vela .* over its TRANSPOSE_CONV: "
    with pytest.raises(BadInputError, match=f"{told}.*{why}"):
        compile_ethos_u(net(decoder), U55, tmp_path, "int8")


def test_an_operator_that_vela_names_is_not_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(*arguments: Any, fixed_batch: bool, **options: Any) -> Converted:
        assert fixed_batch
        return convert(*arguments, fixed_batch=False, **options)

    monkeypatch.setattr(build, "convert", whole)
    with pytest.raises(BadInputError, match=r"\(HardSwish\) is not .* over its HARD_SWISH: IFM has to be 8bit; IFM"):
        compile_for(calibrated(gated, "int8-asymmetric"), WITH_CPU, tmp_path, "int8")


def test_a_limit_of_the_npu_itself_is_told_in_velas_words(tmp_path: Path) -> None:
    """An int8 op that TFLite has: only the accelerator refuses its stride, and the larger one does not."""

    def wide(made: Net) -> str:
        weight = made.constant(made.rng.normal(0, 0.3, (3, 4, 3, 3)))
        return made.relu(made.op("ConvTranspose", "input", weight, strides=[3, 3]))

    with pytest.raises(BadInputError, match=r"node 'convtranspose_0' \(ConvTranspose\) is not .*stride out of range"):
        compile_ethos_u(net(wide), U55, tmp_path, "int8")
    assert compiled(net(wide), load_target("ethos-u85-256"), tmp_path)[1].on_cpu == ()


def classifier(made: Net) -> str:
    return made.gemm(made.op("Flatten", "input"), 768, 3)


@pytest.mark.parametrize("end", [",a,b\"'", "_act_1::x/ü"])
def test_names_may_hold_what_separates_velas_reports(end: str, tmp_path: Path) -> None:
    _, found = compiled(renamed(net(classifier), end), U55, tmp_path)
    assert [op.unit for op in found.ops] == ["NPU", "NPU"]  # the map is turned to ONNX's order first
    assert found.ops[1].node == f"node {f'gemm_1{end}'!r} (Gemm)"


def test_a_name_of_two_lines_is_bad_input(tmp_path: Path) -> None:
    model = renamed(net(classifier), "\nx")
    with pytest.raises(BadInputError, match="the reports of Vela .*: not as known"):
        compile_ethos_u(model, U55, tmp_path, "int8")


def renamed(model: onnx.ModelProto, end: str) -> onnx.ModelProto:
    """With an ending to the name of each tensor and node."""
    for node in model.graph.node:
        node.name += end
        node.input[:] = [name and name + end for name in node.input]
        node.output[:] = [name + end for name in node.output]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output, *model.graph.value_info):
        value.name += end
    return model


def test_the_same_graph_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        made, _ = compiled(net(decoder), U55, folder)
        contents.append([(folder / file).read_bytes() for file in made.files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"system_config": "Ethos_U65_Embedded"}, "system_config Ethos_U65_Embedded does not go with ethos-u55-128"),
        ({"memory_mode": "Dedicated_Sram"}, "memory_mode Dedicated_Sram does not go with .*Shared_Sram or Sram_Only"),
    ],
)
def test_pairs_that_vela_would_take_are_refused(options: dict[str, str], told: str, tmp_path: Path) -> None:
    target = U55.model_copy(update={"compiler": {**U55.compiler, **options}})
    with pytest.raises(BadInputError, match=told):
        compile_ethos_u(net(decoder), target, tmp_path, "int8")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"acelerator": "ethos-u55-64"}, "unknown option 'acelerator'; did you mean 'accelerator'"),
        ({"accelerator": "ethos-u55-129"}, "'ethos-u55-129'; did you mean 'ethos-u55-128'"),
    ],
)
def test_options_that_no_compiler_has_are_bad_targets(options: dict[str, str], told: str) -> None:
    document = {"name": "t", "title": "t", "backend": "ethos-u", "scheme": U55.scheme, "compiler": options}
    with pytest.raises(BadInputError, match=told):
        Target.parse(document, "t.toml")


def test_every_accelerator_has_systems_and_vela_knows_them() -> None:
    from configparser import ConfigParser
    from importlib.util import find_spec

    spec = find_spec("ethosu")
    assert spec is not None
    config = ConfigParser()
    config.read(Path(next(iter(spec.submodule_search_locations or ()))) / "config_files" / "Arm" / "vela.ini")
    sections = {section.partition(".")[2] for section in config.sections()}
    for accelerator in ACCELERATORS:
        for system in systems_of(accelerator):
            assert {system, *SYSTEMS[system]} <= sections


def test_memory_that_the_target_does_not_have_is_named(tmp_path: Path) -> None:
    small = U55.model_copy(update={"limits": Limits(memory_mb=0.001)})
    with pytest.raises(BadInputError, match=r"it needs SRAM of [\d,]+ bytes, ethos-u55-128 has 1,000"):
        compile_ethos_u(net(decoder), small, tmp_path, "int8")


def test_a_missing_vela_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    for name in [name for name in sys.modules if name.partition(".")[0] == "ethosu"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekd\[ethos-u\]'"):
        compile_ethos_u(net(decoder), U55, tmp_path, "int8")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A tiny ResNet, exported as a user does it: its report and its bundle."""
    folder, model = tmp_path_factory.mktemp("ethos-u"), factories.float_resnet()
    onnx.save(model, folder / "resnet.onnx")
    np.savez(folder / "samples.npz", input=factories.inputs_for(model, 64))
    done = edgekd("export", folder / "resnet.onnx", "--target", U55.name, "--calibration", folder / "samples.npz",
                  "--out", folder, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout), folder / f"resnet-{U55.name}"


def test_a_bundle_is_proven_on_the_file_that_was_compiled(exported: tuple[dict[str, Any], Path]) -> None:
    report, bundle = exported
    assert report["status"] == "ok", report["reason"]
    assert "by LiteRT, before Vela" in report["executed"]
    verdict = json.loads(edgekd("verify", bundle, "--json").stdout)
    assert verdict["ok"]
    assert verdict["kernels"]["int8"] == verdict["kernels"]["total"] == 10
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["files"]["model.tflite"]["sha256"] == placement(bundle).model.sha256
    assert manifest["files"]["model_vela.tflite"]["sha256"] == placement(bundle).compiled.sha256


def test_its_size_is_told_and_no_latency(exported: tuple[dict[str, Any], Path]) -> None:
    (row,) = json.loads(edgekd("bench", exported[1], "--json").stdout)
    assert row["npu_cycles_estimate"] == placement(exported[1]).cycles
    assert row["cpu_ops"] == 0
    assert not [key for key in row if "latency" in key or key in ("p50", "p90", "throughput")]


def test_its_profile_is_velas_estimate(exported: tuple[dict[str, Any], Path]) -> None:
    done = edgekd("profile", exported[1], "--json")
    found = json.loads(done.stdout)
    assert found["cycles"] == placement(exported[1]).cycles
    assert {op["unit"] for op in found["ops"]} == {"NPU"}
    shown = edgekd("profile", exported[1])
    words = " ".join(shown.stdout.split())
    assert "not measured" in words
    assert "conv_15" in words
    refused = complaint(edgekd("profile", exported[1], "--device", "local:", "--batch", 2), 2)
    assert "leave out --device and --batch" in refused
