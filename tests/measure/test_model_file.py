"""A model file of any runtime, timed and compared without a bundle."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from edgekd.bundle import GOLDEN, load_bundle
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError
from edgekd.measure.model_file import as_bundle
from tests.measure.bundles import MakeBundle, edit_manifest, network
from tests.small_run import complaint, edgekd

SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml", "tflite": ".tflite"}
QUICK = ("--replicates=1", "--seconds=0.01", "--count=3", "--json")


@pytest.fixture
def file_of(bundle: MakeBundle, tmp_path: Path) -> Callable[[str], Path]:
    """A backend's model file, alone."""

    def lone(backend: str) -> Path:
        source = bundle(backend)
        for name in load_bundle(source).model_files:
            shutil.copy(source / name, tmp_path / f"net{Path(name).suffix}")
        return tmp_path / f"net{SUFFIXES[backend]}"

    return lone


def small(folder: Path, shape: list[int | str], kind: int = onnx.TensorProto.FLOAT) -> Path:
    """An ONNX file that returns its input twice as large."""
    x, y = (make_tensor_value_info(name, kind, shape) for name in "xy")
    model = make_model(
        make_graph([make_node("Add", ["x", "x"], ["y"])], "g", [x], [y]), opset_imports=[make_opsetid("", 17)]
    )
    onnx.save(model, folder / "small.onnx")
    return folder / "small.onnx"


@pytest.mark.parametrize("backend", SUFFIXES)
def test_a_file_of_each_runtime_is_timed(file_of: Callable[[str], Path], backend: str) -> None:
    path = file_of(backend)
    (row,) = json.loads(edgekd("bench", path, *QUICK).stdout)
    assert (row["bundle"], row["precision"], row["batch"]) == (str(path), "f32", 1)
    assert 0 < row["p50"] < 1000


@pytest.mark.parametrize("backend", SUFFIXES)
def test_its_inputs_and_outputs_are_those_of_its_bundle(
    file_of: Callable[[str], Path], bundle: MakeBundle, backend: str
) -> None:
    own = load_bundle(bundle(backend))
    with as_bundle(file_of(backend)) as folder:
        found = load_bundle(folder)
    for mine, theirs in ((found.inputs, own.inputs), (found.outputs, own.outputs)):
        assert [(spec.dtype, spec.sample_shape) for spec in mine] == [(spec.dtype, spec.shape[1:]) for spec in theirs]


def test_int8_is_near_its_float_original_across_runtimes_and_layouts(
    file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """TFLite takes channels last; what quantising costs this random network is known to be some 25 dB."""
    onnx.save(network("float"), tmp_path / "float.onnx")
    done = edgekd("verify", file_of("tflite"), "--reference", tmp_path / "float.onnx", "--json")
    verdict = json.loads(done.stdout)
    assert (done.exit_code, verdict["ok"]) == (0, True)
    assert 20 < verdict["outputs"][0]["sqnr_db"] < 60
    far = edgekd("verify", file_of("tflite"), "--reference", tmp_path / "float.onnx", "--least-db", 60)
    assert far.exit_code == 1
    assert "far from the reference" in far.stdout


def test_a_file_is_equal_to_itself(tmp_path: Path) -> None:
    path = small(tmp_path, ["n", 3])
    verdict = json.loads(edgekd("verify", path, "--reference", path, "--json").stdout)
    assert verdict["outputs"] == [{"output": "y", "n": 8, "sqnr_db": None, "largest": 0.0, "agreement": None}]


def test_classes_are_compared_where_a_manifest_tells_them(tmp_path: Path) -> None:
    path = small(tmp_path, ["n", 3])
    with as_bundle(path) as made:
        folder = shutil.copytree(made, tmp_path / "known")
    (output,) = json.loads((folder / "manifest.json").read_text())["outputs"]
    edit_manifest(folder, outputs=[output | {"labels": ["a", "b", "c"]}])
    verdict = json.loads(edgekd("verify", path, "--reference", folder, "--json").stdout)
    assert verdict["outputs"][0]["agreement"] == 1.0


def test_given_inputs_are_what_it_is_fed(tmp_path: Path) -> None:
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "x.npz", anything=given)
    with as_bundle(small(tmp_path, ["n", 3]), inputs=tmp_path / "x.npz") as folder:
        np.testing.assert_array_equal(read_npz(folder / GOLDEN)["input:x"], given)


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("FLOAT", 0, 1), ("INT64", 0, 1), ("UINT8", 0, 255), ("INT32", 0, 1)]
)
def test_made_up_inputs_are_valid_for_their_type(tmp_path: Path, kind: str, low: int, high: int) -> None:
    """Tokens 0 and 1 are in any vocabulary; bytes take all values."""
    with as_bundle(small(tmp_path, ["n", 400], onnx.TensorProto.DataType.Value(kind))) as folder:
        made = read_npz(folder / GOLDEN)["input:x"]
    assert made.shape == (8, 400)
    assert low <= made.min() < low + 0.01 * (high - low) + 1e-6
    assert high - 0.01 * (high - low) - 1e-6 <= made.max() <= high


def test_free_dimensions_are_asked_for_and_fixed(tmp_path: Path) -> None:
    path = small(tmp_path, ["n", "time", 4])
    told = f"{path}: 'x' has free dimensions: say how large, as in --shape x=1,1,4"
    assert told in complaint(edgekd("bench", path), 2)
    with as_bundle(path, {"x": (2, 5, 4)}) as folder:
        manifest = load_bundle(folder)
    assert (manifest.inputs[0].shape, manifest.batch) == ((2, 5, 4), 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shape=x=1,4",), "--shape x=1,4: the file has ?,3"),
        (("--shape=z=1,3",), "no input 'z'; known: x"),
        (("--inputs={folder}/wrong.npz",), "'x' is float64 (2, 3), the model takes float32 (N, 3)"),
        (("--inputs={folder}/absent.npz",), "no such file"),
        (("--batch=4", "--shape=x=2,3"), "it takes batches of 2 alone, not 4"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    np.savez(tmp_path / "wrong.npz", x=np.zeros((2, 3)))
    asked = [argument.format(folder=tmp_path) for argument in arguments]
    assert words in complaint(edgekd("bench", small(tmp_path, ["n", 3]), *asked), 2)


def test_files_that_cannot_be_measured_are_refused(tmp_path: Path, bundle: MakeBundle) -> None:
    (tmp_path / "net.txt").write_text("")
    told = complaint(edgekd("bench", tmp_path / "net.txt"), 2)
    assert "neither a bundle nor a model file; known: .onnx, " in told
    assert told.endswith("next: edgekd bench --help")
    assert "--reference" in complaint(edgekd("verify", small(tmp_path, ["n", 3])), 2)
    assert "is a scalar" in complaint(edgekd("bench", small(tmp_path, [])), 2)
    assert "float16" in complaint(edgekd("bench", small(tmp_path, ["n", 3], onnx.TensorProto.FLOAT16)), 2)
    own = bundle("onnxruntime")
    for command in (("bench", own), ("profile", own), ("verify", own, "--reference", own)):
        assert "describe a model file" in complaint(edgekd(*command, "--shape", "input=1,3,4,4"), 2)


@pytest.mark.parametrize(
    ("name", "words"), [("cut.onnx", "Protobuf"), ("cut.tflite", "Flatbuffer"), ("cut.xml", "Unable to read the model")]
)
def test_a_file_that_its_runtime_does_not_read_is_named_with_the_reason(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"<net>")
    (tmp_path / "cut.bin").write_bytes(b"")
    path = small(tmp_path, ["n", 3])
    for command in (("bench", tmp_path / name), ("compare", path, tmp_path / name)):
        said = complaint(edgekd(*command), 2)
        assert f"{tmp_path / name}: " in said
        assert "does not read it" in said
        assert words in said
        assert "/edgekd-" not in said  # where the copy was


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("missing", "missing: no such file"),
        ("note.txt", "note.txt: neither a bundle, nor a model file (.onnx, "),
        ("empty.jsonl", "empty.jsonl: no rows"),
        ("folder", "folder: not a bundle (no manifest.json)"),
    ],
)
def test_what_is_compared_with_a_model_is_named_for_what_it_is(tmp_path: Path, other: str, words: str) -> None:
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    path = small(tmp_path, ["n", 3])
    assert words in complaint(edgekd("compare", path, tmp_path / other), 2)
    assert words in complaint(edgekd("compare", tmp_path / other, path), 2)


def test_a_file_beside_results_is_to_be_measured_first(tmp_path: Path) -> None:
    path, rows = small(tmp_path, ["n", 3]), tmp_path / "rows.jsonl"
    assert edgekd("bench", path, *QUICK, "--out", rows).exit_code == 0
    said = complaint(edgekd("compare", rows, path), 2)
    assert "is a model" in said
    assert f"edgekd bench {path} --out" in " ".join(said.split())


def test_options_that_would_be_ignored_are_refused(tmp_path: Path, bundle: MakeBundle) -> None:
    path = small(tmp_path, ["n", 3])
    assert "leave out --data" in complaint(edgekd("verify", path, "--reference", path, "--data", "x.npz"), 2)
    assert "for --reference" in complaint(edgekd("verify", bundle("onnxruntime"), "--inputs", "x.npz"), 2)
    assert complaint(edgekd("bench", path, "--data", "x.npz"), 2)
    for command in (("bench", path), ("compare", path, path), ("verify", bundle("onnxruntime"))):
        assert "how --data is scored" in complaint(edgekd(*command, "--metric", "accuracy"), 2)


def test_models_of_two_networks_are_not_compared(tmp_path: Path, file_of: Callable[[str], Path]) -> None:
    said = complaint(edgekd("verify", file_of("onnxruntime"), "--reference", small(tmp_path, ["n", 3])), 2)
    assert "are not those of one tensor" in said


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with as_bundle(small(tmp_path, ["n", 3])) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(BadInputError), as_bundle(small(tmp_path, [])):
        pass
