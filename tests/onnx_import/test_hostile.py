"""Small files that once killed, hung or grew `edgekd export`, or left it without a word: one line for each."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

HERE, ROOT = Path(__file__).parent / "hostile", Path(__file__).parents[2]
REFUSED = {
    "hang-100037": "Loop 'n11': models with control flow are not supported",
    "hang-100082": "Range 'n5' asks for 1e+09 elements",
    "nb-500684": "not a model that can be imported: zero-size array",
    "nb-501075": "output 'cond' is a constant, whatever the model is given",
    "nb-501221": "Resize 'n3' asks for nan times its operand",
    "nb-600174": "ONNX Runtime refuses the model: ",
    "nb-600828": "ONNX Runtime refuses the model: ",
    "nb-601541": "Resize 'n5' asks for nan times its operand",
    "onnx-300010": "Range 'n4' asks for 1e+09 elements",
    "onnx-300098": "Pad 'n2' asks for 1e+04 elements on a side",
    "onnx-300136": "Tile 'n8' asks for 1e+06 times its operand",
    "onnx-300157": "Loop 'n3': models with control flow are not supported",
    "onnx-300187": "Loop 'n7': models with control flow are not supported",
    "onnx-300194": "AveragePool 'n5' has strides of (2147483648, 1)",
    "onnx-300202": "Pad 'n6' asks for 1e+04 elements on a side",
    "onnx-300236": "Pad 'n3' asks for 1e+05 elements on a side",
    "onnx-300281": "MaxPool 'n2' has strides of (2147483648, 1)",
    "onnx-300337": "Pad 'n3' asks for 1e+05 elements on a side",
    "segv-503112": "tensor 'w0' has the shape (8589934592, 4, 1, 3, 1, 4, -1)",
    "sig-200008": "Tile 'n2' asks for 1e+06 times its operand",
    "slice0": "not a model that can be imported: zero-size array",
    "slice2": "Resize 'k' asks for nan times its operand",
    "stride": "MaxPool 'y' has strides of (2147483648, 1)",
}
CRASHING = ("regex", "segv-501804", "segv-501870", "split")  # what the command then says: test_confined.py
PROVEN = {"esc": (0, "proven on this machine"), "slice1": (4, "proven, but not in int8")}  # one has nothing for int8


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How the command ended on each file, and what it said."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = [json.dumps(command(path, folder)) for path in sorted(HERE.glob("*.onnx"))]
    argv = [sys.executable, "-m", "tests.onnx_import.forks"]
    done = subprocess.run(argv, input="\n".join(lines), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(
        zip(sorted(path.stem for path in HERE.glob("*.onnx")), map(json.loads, done.stdout.splitlines()), strict=True)
    )


def command(path, folder):
    samples = folder / f"{path.stem}.npz"
    np.savez(samples, **inputs(onnx.load(path).graph))
    options = ["--target=x86-onnxruntime", f"--calibration={samples}", f"--out={folder / 'bundles'}"]
    return ["export", str(path), *options]


def inputs(graph):
    """Small numbers in the shape of a model's inputs."""
    held, found = {tensor.name for tensor in graph.initializer}, {}
    for value in graph.input:
        kind = value.type.tensor_type
        if value.name not in held and kind.elem_type:
            shape = [16, *(min(dim.dim_value, 8) or 2 for dim in kind.shape.dim[1:])] if kind.shape.dim else []
            numbers = np.arange(int(np.prod(shape))) % 7
            found[value.name] = numbers.reshape(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return found or {"x": np.zeros(16, np.float32)}


def test_every_file_has_its_answer():
    assert sorted([*REFUSED, *CRASHING, *PROVEN]) == sorted(path.stem for path in HERE.glob("*.onnx"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_one_line(ended, name):
    code, said = ended[name]
    assert code == 2, said
    (line,) = said.splitlines()
    assert line.startswith(f"error: {HERE / name}.onnx: {REFUSED[name]}")


@pytest.mark.parametrize("name", CRASHING)
def test_what_kills_native_code_kills_a_process_that_may_die(ended, name):
    assert ended[name] == [-11, ""]


@pytest.mark.parametrize("name", PROVEN)
def test_what_is_right_is_proven_and_commands_no_terminal(ended, name):
    code, said = ended[name]
    wanted, words = PROVEN[name]
    assert code == wanted, said
    assert words in said
    assert "\x1b" not in said
