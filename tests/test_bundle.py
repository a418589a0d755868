import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bundle import Manifest, identify, load_bundle
from edgekd.errors import BadInputError
from edgekd.files import write_json


def manifest(folder, **changes):
    (folder / "model.onnx").write_bytes(b"model")
    document = {
        "name": "m", "target": "t", "backend": "onnxruntime", "scheme": "int8-asymmetric", "precision": "int8",
        "batch": 1, "threads": 1, "model": "model.onnx", "inputs": [], "outputs": [],
        "files": {name: file.model_dump() for name, file in identify(folder, ["model.onnx"]).items()},
    }  # fmt: skip
    write_json(folder / "manifest.json", document | changes)


def test_a_written_bundle_loads(tmp_path):
    manifest(tmp_path)
    assert load_bundle(tmp_path).files["model.onnx"].bytes == 5


def test_a_changed_or_missing_file_is_refused(tmp_path):
    manifest(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"modem")
    with pytest.raises(BadInputError, match=r"model.onnx does not match its sha256"):
        load_bundle(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(BadInputError, match=r"model.onnx is missing"):
        load_bundle(tmp_path)


def test_a_bundle_of_a_newer_edgekd_says_so_whatever_else_it_has(tmp_path):
    manifest(tmp_path, format=2, blocks=[])
    with pytest.raises(BadInputError, match=r"manifest\.json: bundle format 2 is of a newer edgekd; this one reads 1"):
        load_bundle(tmp_path)


def test_a_link_out_of_the_bundle_is_refused_though_its_content_is_right(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    manifest(folder)
    (folder / "model.onnx").rename(tmp_path / "elsewhere")
    (folder / "model.onnx").symlink_to("../elsewhere")
    with pytest.raises(BadInputError, match=r"model.onnx is a link that leaves the bundle"):
        load_bundle(folder)
    (folder / "model.onnx").unlink()
    (tmp_path / "elsewhere").rename(folder / "weights")
    (folder / "model.onnx").symlink_to("weights")
    listed = identify(folder, ["model.onnx", "weights"])
    manifest(folder, files={name: file.model_dump() for name, file in listed.items()})
    assert load_bundle(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../../b", "..\\b", ""])
def test_paths_stay_inside(tmp_path, name):
    manifest(tmp_path, files={name: {"sha256": "0", "bytes": 1}})
    with pytest.raises(BadInputError, match="leaves the bundle"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "{", '{"format": 2}'])
def test_what_is_no_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BadInputError, match="manifest.json"):
        load_bundle(tmp_path)
    with pytest.raises(BadInputError, match="not a bundle"):
        load_bundle(tmp_path / "nowhere")


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.integers(0, 2**63 - 1), max_size=3))
def test_manifests_survive_json(files):
    safe = {name: {"sha256": "ab", "bytes": size} for name, size in files.items()}
    document = {
        "name": "m", "target": "t", "backend": "b", "scheme": "s", "precision": "float", "batch": 2, "threads": 1,
        "model": "m", "inputs": [], "outputs": [], "files": safe,
    }  # fmt: skip
    try:
        parsed = Manifest.parse(document, "test")
    except BadInputError as error:
        assert "leaves the bundle" in str(error)
        return
    assert Manifest.parse(json.loads(parsed.model_dump_json()), "again") == parsed
