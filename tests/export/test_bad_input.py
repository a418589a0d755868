"""Whatever is wrong with a bundle or the arguments ends in one line and a code, before anything is loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.runner import failure, run
from tests.measure.bundles import MakeBundle, edit_manifest, golden, rehash


def relist(folder: Path, name: str, source: str = "golden.npz") -> None:
    """List `name` with the identity of an existing file."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {name: files[source]})


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.npz", "a/../../outside.npz", "..\\outside.npz", ""])
def test_a_path_may_not_leave_the_bundle(own_bundle: Path, name: str) -> None:
    shutil.copy(own_bundle / "golden.npz", own_bundle.parent / "outside.npz")
    relist(own_bundle, name)
    assert failure("build", own_bundle)[:2] == (2, "bad-input")


@pytest.mark.parametrize("through", ["file", "folder"])
def test_a_link_may_not_leave_the_bundle(own_bundle: Path, through: str) -> None:
    outside = own_bundle.parent / "outside"
    outside.mkdir()
    shutil.copy(own_bundle / "golden.npz", outside / "golden.npz")
    if through == "file":
        (own_bundle / "link.npz").symlink_to(outside / "golden.npz")
        relist(own_bundle, "link.npz")
    else:
        (own_bundle / "link").symlink_to(outside)
        relist(own_bundle, "link/golden.npz")
    code, _, message = failure("build", own_bundle)
    assert code == 2
    assert "leaves the bundle" in message


@pytest.mark.parametrize("affinity", ["", "x", "1-", "-1", "3-2", "0-1-2", "0,", "0-99999"])
def test_what_names_no_cores_is_refused(own_bundle: Path, affinity: str) -> None:
    told = f"--affinity: {affinity!r} names no cores: 4-7 or 0,2 would"
    assert failure("bench", own_bundle, f"--affinity={affinity}") == (2, "bad-input", told)


def test_cores_that_are_not_there_are_named(own_bundle: Path) -> None:
    code, _, message = failure("bench", own_bundle, "--affinity=0,4000-4001")
    assert code == 2
    assert message.startswith("no core 4000, 4001 here: choose others by --affinity, of 0")
    edit_manifest(own_bundle, affinity="4000")  # that of its target
    assert failure("bench", own_bundle)[2].startswith("no core 4000 here: choose others by --affinity")
    assert run("verify", own_bundle)[0] == 0  # only a time depends on the core
    (latency,) = (record for record in run("bench", own_bundle, "--affinity=0")[1] if record["record"] == "latency")
    assert latency["affinity"] == [0]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_one_flipped_bit_is_found_in_any_file(own_bundle: Path, name: str) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own_bundle / name).write_bytes(content)
    code, records = run("build", own_bundle)
    assert code == 2
    assert [record["record"] for record in records] == ["end"]  # nothing was started
    assert name in records[0]["error"]


def test_a_missing_file_is_named(own_bundle: Path) -> None:
    (own_bundle / "golden.npz").unlink()
    assert "golden.npz is missing" in failure("build", own_bundle)[2]


def test_a_model_without_a_hash_is_not_loaded(own_bundle: Path) -> None:
    shutil.copy(own_bundle / "model.onnx", own_bundle / "other.onnx")
    edit_manifest(own_bundle, model="other.onnx")
    assert "other.onnx is not listed in manifest.json" in failure("build", own_bundle)[2]
    (own_bundle / "other.onnx").unlink()
    assert "no hash for 'other.onnx'" in failure("build", own_bundle)[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"backend": "coreml"},
        {"files": []},
        {"inputs": [{"name": "input"}]},
        {"inputs": []},
        {"tolerance": {"max": 2.0}},
        {"runtime": {"turbo": True}},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(own_bundle: Path, changes: dict[str, Any]) -> None:
    edit_manifest(own_bundle, **changes)
    assert failure("verify", own_bundle)[:2] == (2, "bad-input")


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "null"])
def test_a_manifest_that_is_not_one_is_refused(own_bundle: Path, content: str) -> None:
    (own_bundle / "manifest.json").write_text(content)
    assert failure("build", own_bundle)[:2] == (2, "bad-input")


def test_a_folder_without_a_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    assert "not a bundle" in failure("build", tmp_path)[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch", "0"],
        ["--seconds", "-1"],
        ["--seconds", "inf"],
        ["--seconds", "nan"],
        ["--count", "many"],
        ["--option", "optimize"],
        ["--option", "optimize=fast"],
        ["--option", "optimise=all"],
        ["--unknown"],
    ],
)
def test_wrong_arguments_end_in_a_record_too(own_bundle: Path, arguments: list[str]) -> None:
    assert failure("bench", own_bundle, *arguments)[:2] == (2, "bad-input")


def _inputs(kind: str, right: Any) -> dict[str, Any]:
    return {
        "another name": {"x": right},
        "another type": {"input": right.astype(np.float64)},
        "another shape": {"input": right[:, :, :8]},
        "no batch": {"input": right[0]},
        "no samples": {"input": right[:0]},
        "pickled": {"input": np.array([None])},
    }[kind]


@pytest.mark.parametrize("kind", ["another name", "another type", "another shape", "no batch", "no samples", "pickled"])
def test_inputs_that_do_not_fit_are_refused(own_bundle: Path, tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "in.npz", **_inputs(kind, golden(own_bundle, "input:input")))
    result = failure("predict", own_bundle, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out.npz")
    assert result[:2] == (2, "bad-input")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_inputs_that_are_no_archive_are_refused(own_bundle: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    result = failure("predict", own_bundle, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out.npz")
    assert result[:2] == (2, "bad-input")


def test_predict_without_files_is_refused(own_bundle: Path) -> None:
    assert failure("predict", own_bundle)[:2] == (2, "bad-input")


def test_bench_comes_first(own_bundle: Path) -> None:
    """A process that held the model before tells another load, and other memory."""
    code, records = run("build", own_bundle, "then", "bench", str(own_bundle))
    assert (code, [record["ok"] for record in records if record["record"] == "end"]) == (2, [True, False])
    assert records[-1]["error"] == "bench measures a fresh process: no other command may come before it"


def test_a_model_that_the_runtime_rejects_is_a_failure(own_bundle: Path) -> None:
    (own_bundle / "model.onnx").write_bytes(b"not a model")
    rehash(own_bundle)
    assert failure("build", own_bundle)[:2] == (3, "failed")


def test_a_missing_runtime_says_how_to_get_it(own_bundle: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "onnxruntime.py").write_text("raise ImportError('hidden')\n")
    code, kind, message = failure("build", own_bundle, shadow=shadow)
    assert (code, kind) == (3, "missing-runtime")
    assert "pip install onnxruntime" in message


def test_missing_numpy_is_a_missing_runtime(own_bundle: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "numpy.py").write_text("raise ImportError('hidden')\n")
    assert failure("build", own_bundle, shadow=shadow)[:2] == (3, "missing-runtime")


def test_a_device_that_openvino_does_not_find_here_is_a_missing_runtime(bundle: MakeBundle) -> None:
    code, kind, message = failure("build", bundle("openvino"), "--option", "device=NPU")  # no CI has one
    assert (code, kind) == (3, "missing-runtime")
    assert "OpenVINO finds no NPU here, only CPU" in message
