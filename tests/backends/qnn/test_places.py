"""What is read of the HTP compiler's words and made of them; a folder stands in for what it has written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgekd.backends.compiled import Compiled
from edgekd.backends.qnn import compiler
from edgekd.backends.qnn.compile import compile as compile_qnn
from edgekd.backends.qnn.compiler import Answer, compiled
from edgekd.backends.qnn.placement import Places, compiled_for, read_places
from edgekd.errors import BadInputError
from edgekd.target import Target, load_target

TARGET, OLD = (load_target(name).model_copy(update={"io": "float"}) for name in ("snapdragon-8-gen3", "rb3-gen2"))
FLOAT16, UINT8 = 534, 1032
MODEL = """<ir_version: 8, opset_import: ["" : 18]>
net (float[n, 2, 4, 4] input) => (float[n, 2, 4, 4] y) <float s = {0.1}, uint8 z = {128}, float[2, 2, 1, 1] w> {
    q = QuantizeLinear(input, s, z)
    d = DequantizeLinear(q, s, z)
    a = Conv(d, w)
    b = Relu(a)
    c = Add(b, b)
    e = Sigmoid(c)
    y = Mul(e, e)
}"""
NAMES = ["q", "d", "a", "b", "c", "e", "y"]  # of the nodes, by what they make


def net() -> onnx.ModelProto:
    model = onnx.parser.parse_model(MODEL.replace(" w>", f" w = {{{', '.join(4 * ['0.5'])}}}>"))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def write_told(
    folder: Path, floats: dict[str, str], refused: dict[str, str], arch: str = "V75", parts: int = 1
) -> None:
    """As the compiler does: operations in float16 by name, and nodes that it refuses with its reason."""
    mappings = [
        {"dst_name": f"htp_{name}", "sources": [{"type": "OP", "name": f"{name}_token_1"}, {"type": "T", "name": "c"}]}
        for name in NAMES
    ]
    trace = {
        "soc_traces": [{"compilation_target": {"htp_arch": arch}}],
        "unsupported_nodes": [{"node_name": f"{name}_nhwc", "reason": why} for name, why in refused.items()],
        "subgraph_traces": [{"op_mappings": mappings}],
    }
    (folder / "qnn_op_trace.json").write_text(json.dumps(trace))
    kinds = {f"htp_{name}": "Relu" for name in NAMES} | floats
    graph = {
        "nodes": {name: {"type": kind, "output_names": [f"{name}_out"]} for name, kind in kinds.items()},
        "tensors": {f"{name}_out": {"data_type": FLOAT16 if name in floats else UINT8} for name in kinds},
    }
    for part in range(parts):
        (folder / f"QNN_{part}.json").write_text(
            json.dumps({"graph": graph if part == 0 else {"nodes": {}, "tensors": {}}})
        )


def places(folder: Path, *told: Any, **more: Any) -> Places:
    write_told(folder, *told, **more)
    return read_places(net(), folder)


def test_all_is_in_integers_on_the_npu_unless_something_else_is_said(tmp_path: Path) -> None:
    found = places(tmp_path, {}, {})
    assert [(op.node, op.op, op.unit, op.precision) for op in found.ops] == [
        (name, kind, "NPU", "integer")
        for name, kind in zip("abcey", ("Conv", "Relu", "Add", "Sigmoid", "Mul"), strict=True)
    ]
    assert (found.islands, found.share, found.faults, found.in_float) == (1, 1.0, (), ())


def test_layers_in_float16_are_faults_and_what_is_none_is_told_apart(tmp_path: Path) -> None:
    found = places(tmp_path, {"htp_a": "Conv2d", "htp_e": "Sigmoid", "extra": "Conv2d"}, {})
    assert [(op.node, op.precision) for op in found.in_float] == [
        ("a", "float16"),
        ("e", "float16"),
        ("extra", "float16"),
    ]
    assert [(op.node, op.op) for op in found.faults] == [("a", "Conv"), ("extra", "Conv2d")]
    assert found.share == pytest.approx(1 - 2 / 6)


def test_what_is_refused_is_on_the_cpu_with_the_reason_quantisers_among_it(tmp_path: Path) -> None:
    found = places(tmp_path, {}, {"d": "no such type", "e": "too wide", "q": "QNN EP is configured to not take it"})
    assert [(op.node, op.unit, op.reason) for op in found.ops if op.reason] == [
        ("d", "CPU", "no such type"), ("e", "CPU", "too wide"),
    ]  # fmt: skip
    assert found.share == pytest.approx(1 - 2 / 6)


@pytest.mark.parametrize("written", [False, True])
def test_without_a_part_nothing_is_on_the_npu(written: bool, tmp_path: Path) -> None:
    if written:
        write_told(tmp_path, {}, {"e": "too wide"}, parts=0)
    found = read_places(net(), tmp_path)
    assert (found.islands, len(found.ops), found.share) == (0, 7, 0.0)
    assert {op.reason for op in found.ops if op.node != "e"} == {"the compiler has put nothing on the NPU"}
    assert compiled_for(tmp_path) == ("75" if written else "")


Write = Callable[[Path], object]


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, refusal: str | None, write: Write, target: Target) -> Compiled:
    """Compile as if the vendor's compiler had written so."""

    def answered(work: Path, *chip: str) -> Answer:
        (work / "told").mkdir()
        (work / "context.onnx").write_bytes(b"context")
        write(work / "told")
        return Answer(refusal, "2.51")

    monkeypatch.setattr("edgekd.backends.qnn.compile.compiled", answered)
    monkeypatch.setattr("edgekd.backends.qnn.compile.find_spec", lambda name: name)
    return compile_qnn(net(), target, folder, "int8")


@pytest.mark.parametrize(
    ("refusal", "floats", "refused", "parts", "share", "told"),
    [
        ("it cannot", {}, {}, 0, 1.0, "^it cannot$"),
        ("it cannot", {}, {}, 1, 1.0, "^it cannot$"),
        ("it cannot", {}, {"e": "wide"}, 1, 0.1, r"takes 80.0% of the model, 10.0% required: Sigmoid 'e' on the CPU"),
        (None, {}, {"e": "wide"}, 1, 0.81, r"npu_share = 0.8 and runtime.cpu = 'allowed' in the target file allow it$"),
        (None, {"htp_a": "Conv2d"}, {}, 1, 1.0, r"^HTP v75 of SM8650 takes 80.0% .*Conv 'a' in float16: its compiler"),
        (None, {}, dict.fromkeys("abce", "w"), 1, 0.5, r"'a' on.*'c' on the CPU: w and 1 more; npu_share = 0.2 "),
        (None, {}, dict.fromkeys("abc", "w"), 1, 0.5, r"'a' on.*'b' on.*'c' on the CPU: w; npu_share = 0.4 "),
    ],
)  # fmt: skip
def test_what_is_not_all_there_is_refused_by_name(
    refusal: str | None, floats: dict[str, str], refused: dict[str, str], parts: int, share: float, told: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    target = TARGET.model_copy(update={"npu_share": share})
    with pytest.raises(BadInputError, match=told):
        made(tmp_path, monkeypatch, refusal, lambda folder: write_told(folder, floats, refused, parts=parts), target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("floats", "refused", "parts", "notes"),
    [
        ({}, {}, 1, ()),
        ({}, {}, 2, ("in 2 parts on the NPU",)),
        ({"htp_e": "Sigmoid"}, {}, 1, ("Sigmoid 'e' in float16: its compiler takes it for float16",)),
        ({"htp_e": "Sigmoid"}, {"c": "w"}, 1, ("Add 'c' on the CPU: w; Sigmoid 'e' in float16: its compiler takes",)),
    ],
)
def test_what_is_allowed_is_noted(
    floats: dict[str, str], refused: dict[str, str], parts: int, notes: tuple[str, ...],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    target = TARGET.model_copy(update={"npu_share": 0.8})
    found = made(tmp_path, monkeypatch, None, lambda folder: write_told(folder, floats, refused, parts=parts), target)
    assert len(found.notes) == len(notes)
    assert all(note.startswith(wanted) for note, wanted in zip(found.notes, notes, strict=True))
    assert found.files == ("model.onnx", "context.onnx", "placement.json")
    assert found.footprint == {"context_bytes": 7}


@pytest.mark.parametrize(("io", "dtype"), [("int8", "uint8"), ("float", "float32")])
def test_borders_are_integers_where_the_target_says_so(
    io: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGET.model_copy(update={"io": io})
    (source,) = made(tmp_path, monkeypatch, None, lambda folder: write_told(folder, {}, {}), target).inputs
    scale = pytest.approx(0.1)
    assert (source.dtype, source.scale, source.zero_point) == (
        (dtype, scale, 128) if io == "int8" else (dtype, None, None)
    )


def test_a_chip_that_takes_only_its_own_context_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, monkeypatch, None, lambda folder: write_told(folder, {}, {}, arch="V68"), OLD)
    assert found.files == ("model.onnx", "placement.json")
    assert found.footprint == {}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`child(script)`: what runs in the place of this Python."""

    def install(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


def test_the_last_line_of_the_compiler_is_its_answer(child: Callable[[str], None], tmp_path: Path) -> None:
    child(f"""echo noise; echo "$@" >{tmp_path}/words; echo '["it cannot", "2.51"]'""")
    assert compiled(tmp_path, "75", "57", "refused") == Answer("it cannot", "2.51")
    assert (tmp_path / "told").is_dir()
    assert (tmp_path / "words").read_text() == f"-m edgekd.backends.qnn.compiler {tmp_path} 75 57 refused\n"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo first >&2; echo last >&2; exit 3", r"^the HTP's compiler died \(exit 3\) last$"),
        ("exit 1", r"^the HTP's compiler died \(exit 1\)$"),
        ("kill -SEGV $$", r"^the HTP's compiler died \(exit -11\)"),
    ],
)
def test_a_compiler_that_dies_is_told(child: Callable[[str], None], script: str, told: str, tmp_path: Path) -> None:
    child(script)
    with pytest.raises(BadInputError, match=told):
        compiled(tmp_path, "75", "57", "refused")


def test_a_compiler_that_hangs_is_told(
    child: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child("exec sleep 60")
    monkeypatch.setattr(compiler, "SECONDS", 0.2)
    with pytest.raises(BadInputError, match=r"the HTP's compiler gave no answer in 0\.2 s"):
        compiled(tmp_path, "75", "57", "refused")
