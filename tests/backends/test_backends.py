"""Backends are found by name, and the ONNX Runtime and OpenVINO ones write what they promise."""

import hashlib
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from edgekd import backends
from edgekd.backends import find_backend
from edgekd.backends.alternatives import compile_for, require_taken
from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.runtimes import backend_names, find_needs, find_runtime
from edgekd.target import Target, builtin_targets, load_target
from tests import factories
from tests.export.runner import run

NAMES = ("onnxruntime", "openvino")


@cache
def content(precision: str) -> bytes:
    net = factories.qdq_resnet(width=4) if precision == "int8" else factories.float_resnet(width=4)
    return net.SerializeToString()


def model(precision: str) -> onnx.ModelProto:
    return onnx.load_from_string(content(precision))


def target(backend: str, **more: object) -> Target:
    return load_target(f"x86-{backend}").model_copy(update=more)


def test_a_folder_is_a_backend_and_a_module_is_none() -> None:
    folders = [path.parent for path in Path(backends.__path__[0]).glob("*/compile.py")]
    assert backend_names() == sorted(folder.name.replace("_", "-") for folder in folders)
    assert all((folder / part).is_file() for folder in folders for part in ("runtime.py", "needs.py"))


@pytest.mark.parametrize("name", backend_names())
def test_what_a_backend_needs_is_an_extra(name: str) -> None:
    """The base install's, or one of `pyproject.toml`: what doctor tells to install is what pip knows."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {None: project["dependencies"]}
    for component in find_needs(name).components:
        assert any(needed.startswith(component.distribution) for needed in extras[component.extra])


@pytest.mark.parametrize("name", ["openvin", "parity", "compiled"])
def test_an_unknown_backend_names_the_known(name: str) -> None:
    with pytest.raises(BadInputError, match="openvino"):
        find_backend(name)


def test_every_builtin_target_has_its_backend() -> None:
    for name in builtin_targets():
        tolerance = find_runtime(load_target(name).backend).TOLERANCE
        assert set(tolerance) <= {"max_steps", "p999_steps", "agreement"}


def test_each_runtime_has_its_tolerance() -> None:
    """Steps off at most where arithmetic is nearly the reference's, else of all but one value in a thousand."""
    steps = {"ethos-u": 2.0, "ncnn": 1.0, "onnxruntime": 2.0, "tflite": 2.0, "tflm": 4.0}
    most = {name: {"max_steps": value, "agreement": 0.99} for name, value in steps.items()}
    nearly_all = {name: {"p999_steps": 4.0, "agreement": 0.99} for name in ("openvino", "qnn", "tensorrt")}
    assert {name: find_runtime(name).TOLERANCE for name in backend_names()} == most | nearly_all


def test_litert_alone_runs_without_python() -> None:
    assert [name for name in backend_names() if find_needs(name).without_python] == ["tflite"]
    assert find_needs("ethos-u").compiler["allow_cpu"] == (False, True)


def test_listing_backends_loads_no_sdk() -> None:
    code = "import sys, json, edgekd.runtimes as b; b.backend_names(); print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"ncnn", "openvino", "ai_edge_litert", "tensorrt_rtx", "tflite_micro", "torch"} & set(loaded)


@pytest.mark.parametrize("precision", ["int8", "float"])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_graph_gives_the_same_bytes(name: str, precision: str, tmp_path: Path) -> None:
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        compiled = find_backend(name).compile(model(precision), target(name), folder, precision)  # type: ignore[arg-type]
        assert sorted(path.name for path in folder.iterdir()) == sorted(compiled.files)
        digests.append([hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in compiled.files])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", NAMES)
def test_names_types_and_layout_are_kept(name: str, tmp_path: Path) -> None:
    compiled = find_backend(name).compile(model("int8"), target(name), tmp_path, "int8")
    (image,), (logits,) = compiled.inputs, compiled.outputs
    assert (image.name, image.dtype, image.shape, image.layout) == ("input", "float32", (None, 3, 16, 16), "NCHW")
    assert (logits.name, logits.dtype, logits.shape, logits.layout) == ("logits", "float32", (None, 10), None)


def test_weights_stay_int8_in_the_ir(tmp_path: Path) -> None:
    """Four bytes a weight would not fit: 8-bit weights, 32-bit biases and scales are all there is."""
    quantised = factories.qdq_resnet()
    find_backend("openvino").compile(quantised, target("openvino"), tmp_path, "int8")
    weights = sum(int(np.prod(tensor.dims)) for tensor in quantised.graph.initializer if tensor.data_type == 3)
    assert weights < (tmp_path / "model.bin").stat().st_size < 1.3 * weights


def weights(written: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in written.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}


def test_equal_constants_are_stored_once(tmp_path: Path) -> None:
    quantised = model("int8")
    find_backend("onnxruntime").compile(quantised, target("onnxruntime"), tmp_path, "int8")
    written = onnx.load(tmp_path / "model.onnx")
    points = [
        node.input[2]
        for node in written.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights(written)
    ]
    assert (
        len(set(points)) == len(points) > 2
    )  # ONNX Runtime makes each one u8 where the CPU has no VNNI, and none twice
    values = [
        (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        for tensor in written.graph.initializer
        if tensor.name not in points
    ]
    assert len(set(values)) == len(values) < 0.7 * (len(quantised.graph.initializer) - len(points))
    x = {"input": factories.inputs_for(quantised)}
    np.testing.assert_array_equal(Reference(written).run(x)["logits"], Reference(quantised).run(x)["logits"])


def test_nothing_of_the_exporter_is_left(tmp_path: Path) -> None:
    noisy = model("int8")
    noisy.graph.node[0].doc_string = "File /home/someone/model.py"
    noisy.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/model.py")
    noisy.graph.value_info.add(name="relu_1_out")
    find_backend("onnxruntime").compile(noisy, target("onnxruntime"), tmp_path, "int8")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"/home/someone" not in content
    written = onnx.load_from_string(content)
    assert not written.graph.value_info
    assert {entry.key: entry.value for entry in written.metadata_props} == {"edgekd.scheme": "int8-asymmetric"}
    assert noisy.graph.node[0].doc_string, "the caller's model is not touched"


def test_a_missing_sdk_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # what Python does for a module that cannot be imported
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekd\[openvino\]'"):
        find_backend("openvino").compile(model("int8"), target("openvino"), tmp_path, "int8")


@pytest.mark.parametrize("name", [*NAMES, "tensorrt"])
def test_integer_borders_are_refused(name: str, tmp_path: Path) -> None:
    wish = Target(name="mine", title="", backend=name, scheme="int8-symmetric", io="int8")
    with pytest.raises(BadInputError, match="io = 'float'"):
        find_backend(name).compile(model("int8"), wish, tmp_path, "int8")


def test_openvino_names_the_operator_it_lacks(tmp_path: Path) -> None:
    foreign = model("float")
    foreign.graph.node[1].op_type, foreign.graph.node[1].domain = "Squash", "made.up"
    foreign.opset_import.append(helper.make_opsetid("made.up", 1))
    with pytest.raises(BadInputError, match=r"made\.up\.Squash") as caught:
        find_backend("openvino").compile(foreign, target("openvino"), tmp_path, "float")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*NAMES, "tensorrt"])
def test_an_invalid_graph_is_one_line(name: str, tmp_path: Path) -> None:
    broken = model("float")
    broken.graph.node[3].input[0] = "nowhere"
    with pytest.raises(BadInputError) as caught:
        find_backend(name).compile(broken, target("onnxruntime"), tmp_path, "float")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("position", "words"), [(1, "only the batch"), (3, "only the batch")])
def test_only_the_batch_may_be_dynamic(position: int, words: str, tmp_path: Path) -> None:
    dynamic = model("float")
    dynamic.graph.input[0].type.tensor_type.shape.dim[position].dim_param = "n"
    with pytest.raises(BadInputError, match=f"input: {words}"):
        find_backend("onnxruntime").compile(dynamic, target("onnxruntime"), tmp_path, "float")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tflite"])
def test_a_static_batch_is_the_only_one_that_the_file_takes(backend: str, tmp_path: Path) -> None:
    net = factories.qdq_resnet(width=4)
    x = factories.inputs_for(net, 10)
    fixed = target(backend, batch=4, static_batch=True)
    outputs = Reference(net).run({"input": x})
    manifest = write_bundle(net, fixed, tmp_path / "b", "int8", name="n", inputs={"input": x}, outputs=outputs)
    assert [spec.shape[0] for spec in (*manifest.inputs, *manifest.outputs)] == [4, 4]
    assert manifest.fixed_batch == 4
    code, records = run("verify", tmp_path / "b")
    assert (code, records[2]["ok"]) == (0, True)


def test_a_static_batch_leaves_no_free_size_in_a_flatbuffer(tmp_path: Path) -> None:
    """LiteRT.js and the delegates of NPUs refuse a signature with one."""
    free = {static: free_sizes(target("tflite", static_batch=static), tmp_path) for static in (False, True)}
    assert free[False] > 0
    assert free[True] == 0


def free_sizes(chosen: Target, folder: Path) -> int:
    compile_for(factories.qdq_resnet(width=4), chosen, folder, "int8")
    found = schema.ModelT.InitFromObj(schema.Model.GetRootAs((folder / "model.tflite").read_bytes()))
    signatures = [tensor.shapeSignature for tensor in found.subgraphs[0].tensors]
    return sum(list(signature).count(-1) for signature in signatures if signature is not None)


@pytest.mark.parametrize(
    ("version", "bits", "way"),
    [
        ((3, 8), 64, "tflite-runtime 'numpy<2'"),
        ((3, 9), 64, "ai-edge-litert"),
        ((3, 14), 64, "ai-edge-litert"),
        ((3, 9), 32, "tflite-runtime 'numpy<2'"),
        ((3, 11), 32, "tflite-runtime 'numpy<2'"),
        ((3, 12), 32, "no wheel for a 32-bit Python"),
    ],
)
def test_a_python_gets_the_litert_that_has_a_wheel_for_it(version: tuple[int, int], bits: int, way: str) -> None:
    needs = find_needs("tflite")
    assert way in needs.way(version, bits, False).told
    assert needs.without_python


@pytest.mark.parametrize(("backend", "asked"), [("tflite", True), ("onnxruntime", False)])
def test_a_backend_that_lists_its_operators_is_asked_before_anything_is_taught(backend: str, asked: bool) -> None:
    net = factories.Net(0, (4,))
    counted = net.op("Cast", net.op("NonZero", "input"), to=onnx.TensorProto.FLOAT)
    if asked:
        with pytest.raises(BadInputError, match="how many elements it makes depends on their values"):
            require_taken(net.model(counted), target(backend))
    else:
        require_taken(net.model(counted), target(backend))
