"""What the microcontroller backend writes, trims, measures and refuses."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.backends.alternatives import compile_for
from edgekd.backends.compiled import Compiled
from edgekd.backends.conversion import to_bundle
from edgekd.backends.tflite.convert import convert
from edgekd.backends.tflite.ops import ops_of
from edgekd.backends.tflm.build import _culprit
from edgekd.backends.tflm.compile import compile as compile_tflm
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.target import Limits
from tests import factories
from tests.backends.tflm.harness import TARGET, by_micro, compiled, untrimmed
from tests.factories import Net

METHODS = ["AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMean", "AddReshape"]
MLPERF_TINY_BYTES = 53_936  # its keyword spotter, int8


@dataclass(frozen=True)
class Written:
    """A DS-CNN: its QDQ graph, what was said of it, where it lies."""

    model: onnx.ModelProto
    compiled: Compiled
    folder: Path

    @property
    def content(self) -> bytes:
        return (self.folder / "model.tflite").read_bytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    model, folder = factories.qdq_dscnn(), tmp_path_factory.mktemp("tflm")
    return Written(model, compiled(model, folder)[0], folder)


def net(build: Callable[[Net], str], shape: tuple[int, ...] = (3, 16, 16)) -> onnx.ModelProto:
    made = Net(1, shape)
    return factories.quantize(made.model(build(made)), made.inputs(8))


def refusal(model: onnx.ModelProto, folder: Path, target: object = TARGET) -> str:
    with pytest.raises(BadInputError) as caught:
        compile_tflm(model, target, folder, "int8")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())
    return str(caught.value)


def test_inputs_and_outputs_are_int8_at_one_batch_size(written: Written) -> None:
    (source,), (answer,) = written.compiled.inputs, written.compiled.outputs
    assert (source.dtype, source.shape, source.layout) == ("int8", (1, 25, 10, 1), "NHWC")
    assert (answer.dtype, answer.shape) == ("int8", (1, 12))


def test_the_array_is_the_file(written: Written) -> None:
    source, header = ((written.folder / f"model_data.{kind}").read_text() for kind in "ch")
    assert bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w),", source)) == written.content
    assert "aligned(16)" in source
    defined = {name: int(value) for name, value in re.findall(r"#define MODEL_(\w+) (\d+)", header)}
    figures = written.compiled.footprint
    assert defined == {"BYTES": len(written.content), "ARENA_BYTES": figures["arena_bytes"], "OPS": len(METHODS)}
    assert figures["flash_bytes"] == len(written.content)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here; the array is read back above")
def test_a_c_compiler_takes_the_array(written: Written, tmp_path: Path) -> None:
    main = (
        "#include \"model_data.h\"\nint main(void) { return (unsigned long)model_data % 16 || model_data[4] != 'T'; }\n"
    )
    (tmp_path / "main.c").write_text(main)
    argv = ["cc", "-Wall", "-Wextra", "-Werror", "-I", written.folder, "main.c", written.folder / "model_data.c"]
    subprocess.run([*argv, "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)


def test_the_page_registers_the_ops_that_the_model_has(written: Written) -> None:
    page = (written.folder / "MICROCONTROLLER.md").read_text()
    methods = re.findall(r"resolver\.(Add\w+)\(\);", page)
    assert methods == METHODS
    assert "MicroMutableOpResolver<MODEL_OPS>" in page
    assert "| input(0) | input | int8 | 1 × 25 × 10 × 1 NHWC | (stored" in page


def test_trimming_saves_flash_and_changes_no_bit(written: Written) -> None:
    whole = untrimmed(written.model)
    assert len(written.content) < 0.85 * len(whole)  # scales of biases and zero points are a fifth of so small a net
    stored = to_bundle(written.compiled.inputs[0], factories.inputs_for(written.model, 20))
    np.testing.assert_array_equal(by_micro(written.content, stored), by_micro(whole, stored))


def test_the_arena_suffices_and_hardly_less_does(written: Written) -> None:
    stored = to_bundle(written.compiled.inputs[0], factories.inputs_for(written.model, 1))
    arena = written.compiled.footprint["arena_bytes"]
    assert by_micro(written.content, stored, arena + 15)  # 15: where numpy's memory begins, an array need not
    with pytest.raises(RuntimeError, match="allocate"):
        by_micro(written.content, stored, arena - 64)


def test_the_same_graph_gives_the_same_files(written: Written, tmp_path: Path) -> None:
    compiled(factories.qdq_dscnn(), tmp_path)
    for name in written.compiled.files:
        assert (tmp_path / name).read_bytes() == (written.folder / name).read_bytes()


def test_macs_are_counted_by_hand() -> None:
    """A 3×3 convolution 3→8 at 16×16, a 2×2 transposed one 8→4 of stride 2 over it, a product of 8 with 5."""

    def build(made: Net) -> str:
        x = made.relu(made.conv("input", 3, 8))
        x = made.op("ConvTranspose", x, made.constant(made.rng.normal(0, 0.3, (8, 4, 2, 2))), strides=[2, 2])
        x = made.op("Flatten", made.op("GlobalAveragePool", made.conv(x, 4, 4, group=4)), axis=1)
        return made.gemm(x, 4, 5)

    conv, transposed, depthwise, product = 256 * 8 * 27, 256 * 8 * 4 * 4, 1024 * 4 * 9, 4 * 5
    assert sum(op.macs for op in ops_of(untrimmed(net(build)))) == conv + transposed + depthwise + product


def test_mlperf_tinys_keyword_spotter_is_smaller_than_its_own(tmp_path: Path) -> None:
    """DS-CNN on 49×10 cepstra, four separable blocks of 64 channels: 2.66 M multiply-accumulates."""
    spotter = Net(0, (1, 49, 10))
    stem = spotter.constant(spotter.rng.normal(0, 0.2, (64, 1, 10, 4)))
    options = {"kernel_shape": [10, 4], "strides": [2, 2], "pads": [4, 1, 5, 1]}
    x = spotter.relu(spotter.op("Conv", "input", stem, spotter.constant(np.zeros(64)), **options))
    for _ in range(4):
        x = spotter.relu(spotter.conv(x, 64, 64, group=64))
        x = spotter.relu(spotter.conv(x, 64, 64, kernel=1))
    x = spotter.op("Flatten", spotter.op("GlobalAveragePool", x), axis=1)
    model = factories.quantize(spotter.model(spotter.gemm(x, 64, 12)), spotter.inputs(8))
    made, content = compiled(model, tmp_path)
    assert len(content) < 0.75 * MLPERF_TINY_BYTES
    assert 2 * 25 * 5 * 64 <= made.footprint["arena_bytes"] <= 26_000  # two maps at once, and what the ops keep
    assert made.footprint["macs"] == 125 * 64 * 40 + 4 * (125 * 64 * 9 + 125 * 64 * 64) + 64 * 12


def test_an_op_that_it_lacks_is_named_with_its_node_and_who_takes_it(tmp_path: Path) -> None:
    model = net(lambda made: made.op("Gelu", made.conv("input", 3, 8)))
    assert refusal(model, tmp_path).startswith("node 'gelu_1' (Gelu): TFLite-Micro refuses the model: Didn't find op")
    with pytest.raises(BadInputError, match="these targets take it: .*x86-onnxruntime, .*x86-tflite"):
        compile_for(model, TARGET, tmp_path, "int8")


def test_an_op_that_would_stay_in_float_is_named(tmp_path: Path) -> None:
    model = net(lambda made: made.op("Sin", made.conv("input", 3, 8)))
    message = refusal(model, tmp_path)
    assert "int8 throughout: float island: node 'sin_1' (Sin)" in message


def test_memory_that_the_target_does_not_have_is_named(written: Written, tmp_path: Path) -> None:
    figures = written.compiled.footprint
    small = TARGET.model_copy(update={"limits": Limits(memory_mb=0.001)})
    assert f"an arena of {figures['arena_bytes']:,} bytes, tflm-cortex-m has 1,000" in refusal(
        written.model, tmp_path, small
    )
    full = TARGET.model_copy(update={"limits": Limits(model_kb=1)})
    assert f"flash of {figures['flash_bytes']:,} bytes" in refusal(written.model, tmp_path, full)


def test_a_missing_interpreter_says_how_to_get_it(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tflite_micro"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekd\[tflm\]'"):
        compile_tflm(written.model, TARGET, tmp_path, "int8")


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ("Didn't find op for builtin opcode 'FULLY_CONNECTED'", "node 'gemm_2' (Gemm): "),
        ("Didn't find op for builtin opcode 'SIN'", ""),
        ("Node CONV_2D (number 0f) failed to prepare", "node 'conv_0' (Conv): "),
        ("Node FULLY_CONNECTED (number 3) failed to prepare", "node 'gemm_2' (Gemm): "),
        ("it crashed", ""),
    ],
)
def test_a_refusal_names_who_made_the_operator(refusal: str, told: str) -> None:
    net = Net(0, (3, 4, 4))
    y = net.gemm(net.op("Flatten", net.conv("input", 3, 2)), 32, 3)
    model = factories.quantize(net.model(y), net.inputs(16))
    ops = ops_of(convert(model, TARGET, "int8", fixed_batch=True).content)
    assert _culprit(refusal, model, ops) == told
