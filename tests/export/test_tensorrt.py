"""The TensorRT part of the runner as far as it goes without a GPU: the probe, NVIDIA's parser and builder, memory.

Nothing here executes an engine. TensorRT-RTX offers the same Python names, so that a misspelt one is found.
"""

import ast
import ctypes
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.runner_source import runner_source
from edgekd.target import Target
from tests import factories
from tests.export.runner import failure, module, run, runner_file
from tests.measure.bundles import edit_manifest

needs_tensorrt_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs edgekd[trt-check]")

OBJECTS = {
    "trt": "",
    "self.module": "",
    "self.module.TensorIOMode": "TensorIOMode",
    "self.module.Logger": "Logger",
    "trt.NetworkDefinitionCreationFlag": "NetworkDefinitionCreationFlag",
    "builder": "Builder",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timings": "ITimingCache",
    "self.runtime": "Runtime",
    "self.engine": "ICudaEngine",
    "self.context": "IExecutionContext",
}
BUILD_AHEAD_OF_TIME = """
import importlib.util, sys
import tensorrt_rtx
specification = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)

class Ahead(runner.TensorRT):
    def __init__(self):
        self.options, self.module = {"workspace_mb": "256"}, tensorrt_rtx
        self.logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)

    def _config(self, builder):  # this machine has no GPU to ask what to build for
        config = super()._config(builder)
        config.num_compute_capabilities = 1
        assert config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM86, 0)
        return config

model = open(sys.argv[2], "rb").read()
try:
    plan, timings = Ahead()._build(model, {"input": [(batch, 3, 16, 16) for batch in map(int, sys.argv[3:])]}, b"")
except runner.RunnerError as error:
    sys.exit("{}: {}".format(error.kind, error))
print(len(plan), len(timings))
"""


def test_without_a_gpu_the_runner_says_so_and_does_not_crash(own_bundle: Path) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    edit_manifest(own_bundle, backend="tensorrt")
    code, kind, message = failure("build", own_bundle)
    assert (code, kind) == (3, "missing-runtime")
    assert "NVIDIA" in message


def test_no_attribute_hides_a_method() -> None:
    """A CUDA stream was once kept where offline calls `Runtime.stream`."""
    assigned = {node.attr for node in _attributes() if isinstance(node.ctx, ast.Store)}
    inherited = {name for name, value in vars(module("tensorrt").Runtime).items() if callable(value)}
    assert "cuda_stream" in assigned
    assert not assigned & inherited


@needs_tensorrt_rtx
def test_every_name_used_of_tensorrt_exists() -> None:
    used = sorted(
        {(OBJECTS[ast.unparse(node.value)], node.attr) for node in _attributes() if ast.unparse(node.value) in OBJECTS}
    )
    script = "import sys, json, tensorrt_rtx as trt\nfor owner, name in json.loads(sys.argv[1]):\n"
    script += "    assert hasattr(getattr(trt, owner) if owner else trt, name), (owner, name)"
    finished = subprocess.run([sys.executable, "-c", script, json.dumps(used)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(used) > 25  # the table above still names what the code uses


def _attributes() -> list[ast.Attribute]:
    nodes = ast.parse(runner_source("tensorrt")).body
    (body,) = (node for node in nodes if isinstance(node, ast.ClassDef) and node.name == "TensorRT")
    return [node for node in ast.walk(body) if isinstance(node, ast.Attribute)]


def _build(model: Path, *batches: int) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", BUILD_AHEAD_OF_TIME, str(runner_file("tensorrt")), str(model)]
    argv += map(str, batches or (4, 4, 4))
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


@needs_tensorrt_rtx
@pytest.mark.parametrize("batches", [(4, 4, 4), (1, 4, 32)])
def test_nvidias_parser_and_builder_take_the_graph(tmp_path: Path, batches: tuple[int, ...]) -> None:
    (tmp_path / "model.onnx").write_bytes(factories.qdq_resnet(symmetric=True).SerializeToString())
    finished = _build(tmp_path / "model.onnx", *batches)
    assert finished.returncode == 0, finished.stderr
    plan, _ = map(int, finished.stdout.split())
    assert plan > 10_000  # the weights alone


@needs_tensorrt_rtx
def test_a_graph_that_cannot_be_parsed_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    finished = _build(tmp_path / "model.onnx")
    assert "failed: TensorRT cannot parse the model" in finished.stderr


CUDA_ON_THE_HOST = """
#include <stdlib.h>
#include <string.h>
int cudaMalloc(void **p, size_t n) { if (n > (1ull << 40)) return 2; *p = calloc(n, 1); return 0; }
int cudaMallocHost(void **p, size_t n) { return cudaMalloc(p, n); }
int cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, void *stream) {
    if (kind != 1 && kind != 2) return 21;
    memcpy(to, from, n);
    return stream == (void *)0x1234567890abcdef ? 0 : 400;
}
int cudaStreamCreate(void **stream) { *stream = (void *)0x1234567890abcdef; return 0; }
"""


@pytest.fixture
def cuda(tmp_path: Path) -> Any:
    """Our ctypes calls bound to a C library with libcudart's signatures: what is tested is how we pass arguments."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "cudart.c").write_text(CUDA_ON_THE_HOST)
    library = tmp_path / "libcudart.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "cudart.c"], check=True)
    runner = module("tensorrt")
    bound = runner.Cuda.__new__(runner.Cuda)
    bound.library = ctypes.CDLL(str(library))
    return runner, bound


@pytest.mark.parametrize(("shape", "dtype"), [((2, 3), "float32"), ((1, 4, 4, 1), "int8"), ((5,), "int64")])
def test_tensors_travel_to_the_device_and_back(cuda: Any, shape: tuple[int, ...], dtype: str) -> None:
    runner, bound = cuda
    stream = bound.stream()
    mirror = runner.Mirror(bound, shape, dtype)
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    mirror.host[...] = values
    mirror.upload(stream)
    mirror.host[...] = 0
    mirror.download(stream)
    np.testing.assert_array_equal(mirror.host, values)
    assert mirror.host.dtype == dtype


def test_a_cuda_error_is_a_failure(cuda: Any) -> None:
    runner, bound = cuda
    with pytest.raises(runner.RunnerError, match="cudaMalloc returned CUDA error 2"):
        bound.allocate("cudaMalloc", 1 << 41)


def test_a_kept_engine_is_used_only_for_what_it_was_built_from(tmp_path: Path) -> None:
    runner = module("tensorrt")
    plan, sidecar = tmp_path / "x.plan", tmp_path / "x.json"
    identity = {"tensorrt": "10.3", "gpu": "Orin", "model_sha256": "0" * 64, "batches": [1, 1, 8], "options": {}}
    assert not runner.kept_engine_matches(plan, sidecar, identity)
    plan.write_bytes(b"engine")
    sidecar.write_text(json.dumps(identity | {"sha256": runner.sha256(plan)}))
    assert runner.kept_engine_matches(plan, sidecar, identity)
    for key, other in {"tensorrt": "10.4", "gpu": "Xavier", "model_sha256": "1" * 64, "batches": [1, 8, 8]}.items():
        assert not runner.kept_engine_matches(plan, sidecar, identity | {key: other})
    plan.write_bytes(b"damaged")
    assert not runner.kept_engine_matches(plan, sidecar, identity)


class Drill(module("tensorrt").TensorRT):
    """The runner's own keeping of engines, around a builder that says what it was asked for."""

    def __init__(self, gpu: str = "Orin", version: str = "10.3") -> None:
        self.options, self.version = {}, version
        self.cuda = type("Device", (), {"device_name": gpu})
        self.asked: list[Any] = []

    def _build(self, model: bytes, shapes: Any, kept_timings: bytes) -> tuple[bytes, bytes]:
        self.asked.append((shapes, kept_timings))
        return b"an engine", b"timings"


def test_an_engine_is_built_once_for_all_batches_of_its_profile(own_bundle: Path) -> None:
    edit_manifest(own_bundle, backend="tensorrt", profile={"min": 1, "opt": 4, "max": 8})
    runner, drill = module("tensorrt"), Drill()
    for batch, built in ((1, 1), (8, 1), (16, 2), (16, 2), (4, 2)):
        bundle = runner.Bundle(own_bundle, drill.KEEPS)
        assert drill._plan(bundle, runner.engine_batches(bundle.manifest, batch)) == b"an engine"
        assert len(drill.asked) == built
    (first, none), (second, timings) = drill.asked
    assert [shape[0] for shape in next(iter(first.values()))] == [1, 4, 8]
    assert [shape[0] for shape in next(iter(second.values()))] == [16, 16, 16]
    assert (none, timings) == (b"", b"timings")  # what one build measured, the next need not
    for other in (Drill(gpu="Xavier"), Drill(version="10.4")):
        other._plan(bundle, (1, 4, 8))
        assert (len(other.asked), other.origin) == (1, "built")
    assert drill._plan(bundle, (16, 16, 16)) == b"an engine"
    assert drill.origin == "kept"


@pytest.mark.gpu
@pytest.mark.parametrize("floats", ["float32", "float16"])
def test_on_a_gpu_an_engine_is_built_once_and_computes_what_the_reference_does(tmp_path: Path, floats: Any) -> None:
    """Needs TensorRT itself; never run on the machine that this was written on."""
    model, inputs = factories.resnet(0)
    quantised = calibrate(model, SCHEMES["int8-symmetric"], [{"input": inputs}], ["*conv_7"])
    target = Target(name="gpu", title="gpu", backend="tensorrt", scheme="int8-symmetric", batches=(1, 8), floats=floats)
    folder = tmp_path / "bundle"
    write_bundle(
        quantised, target, folder, "int8", name="net", inputs={"input": inputs},
        outputs=Reference(quantised).run({"input": inputs}),
    )  # fmt: skip
    engines, precisions = [], set()
    for verb, batch in (("build", 1), ("verify", 8), ("verify", 1)):
        code, records = run(verb, folder, "--batch", str(batch))
        assert code == 0, records[-1]
        details = next(record for record in records if record["record"] == "load")["details"]
        engines.append(details["engine"])
        precisions.add(details["precision"])
    assert engines == ["built", "kept", "kept"]
    assert precisions <= ({"f16"} if floats == "float16" else {"tf32", "f32"})
    (folder / "engine" / "batch-1-8.plan").write_bytes(b"damaged")
    assert run("build", folder)[1][1]["details"]["engine"] == "built"


@pytest.mark.parametrize(
    "profile", [{"min": 1, "opt": 4}, {"min": 4, "opt": 1, "max": 8}, {"min": 0, "opt": 1, "max": 1}, 3]
)
def test_a_profile_that_makes_no_sense_is_refused(profile: Any) -> None:
    runner = module("tensorrt")
    with pytest.raises(runner.RunnerError, match="profile"):
        runner.engine_batches({"profile": profile}, 1)


@pytest.mark.parametrize(
    ("types", "has_tf32", "precision"),
    [
        (("Row major linear FP32", "Thirty-two wide channel vectorized row major Int8 format"), True, "tf32"),
        (("Row major linear FP32",), False, "f32"),
        (("Row major linear FP32", "Two wide channel vectorized row major FP16 format"), True, "f16"),
        (("Half",), True, "f16"),
        (("BFloat16",), True, "bf16"),
    ],
)
def test_the_precision_is_that_of_the_layers_outputs(types: tuple[str, ...], has_tf32: bool, precision: str) -> None:
    layers: list[Any] = [{"LayerType": "gemm", "Outputs": [{"Format/Datatype": name}]} for name in types]
    document = {"Layers": [*layers, "a layer without detail"]}
    assert module("tensorrt").float_precision(document, has_tf32) == precision


def test_the_census_reads_the_engine_inspector() -> None:
    document = {
        "Layers": [
            {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Thirty-two wide channel Int8 format"}]},
            {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Row major linear FP32"}]},
            {"LayerType": "gemm", "Inputs": [{"Datatype": "Int8"}]},
            {"LayerType": "Reformat", "Inputs": [{"Datatype": "Int8"}]},
            "a layer without detail",
        ]
    }
    counts = module("tensorrt").tensorrt_coverage(document, module("tensorrt").TensorRT.WEIGHTED)
    assert (counts["int8"], counts["total"], counts["ops"]["Reformat"]) == (2, 3, 1)
