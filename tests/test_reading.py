"""Foreign files behind one boundary: whatever is wrong with them, one line names the file and the exit code is 2."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from edgekd.bundle import load_bundle
from edgekd.data.idx import read_idx
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure.results import read_rows
from edgekd.onnx_import.read import read_model
from edgekd.pipeline.fleet import parse_devices
from edgekd.reading import DOCUMENT, read_json, read_lines, read_toml, reading, require_file
from edgekd.recipe import load_recipe
from edgekd.reporting.html import write_report
from edgekd.target import load_target
from edgekd.training.checkpoint import load_checkpoint
from edgekd.training.weights import read_tensors
from tests.small_run import complaint, edgekd

DEEP = 100_000
LINES = "\u2028\u2029\x85\x0b\x0c\x1c"  # where `splitlines` splits and JSON lines do not
READERS = {
    "recipe.toml": lambda path: load_recipe(str(path)),
    "target.toml": lambda path: load_target(str(path)),
    "fleet.toml": lambda path: parse_devices(fleet=path),
    "manifest.json": lambda path: load_bundle(path.parent),
    "checkpoint.json": lambda path: load_checkpoint(path.parent, "key"),
    "run.json": lambda path: write_report(path.parent),
    "results.jsonl": read_rows,
    "x.npz": read_npz,
    "x.idx": lambda path: read_idx(path, 3),
    "x.idx.gz": lambda path: read_idx(path, 3),
    "x.safetensors": read_tensors,
    "x.pth": read_tensors,
    "model.onnx": read_model,
}
CONTENTS = {
    "lists": b"[" * DEEP + b"]" * DEEP,
    "tables": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "toml": b"a = " + b"[" * DEEP,
    "dotted": b"a." * DEEP + b"b = 1",
    "surrogate": b'"\\ud800"',
    "null": b"null",
    "list": b"[1]",
    "digits": b"1" * 10_000,
    "not text": b"\xff\xfe\x00",
    "header": (2**62).to_bytes(8, "little") + b"{",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_what_no_reader_can_read_is_one_line_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(CONTENTS[content])
    with pytest.raises(BadInputError) as refused:
        READERS[name](tmp_path / name)
    assert name in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_before_anyone_waits_for_it(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInputError, match=f"{name}( is damaged|: not a regular file)"):
        READERS[name](tmp_path / name)


def test_a_nested_recipe_ends_with_2(tmp_path):
    (tmp_path / "nested.toml").write_bytes(CONTENTS["toml"])
    assert "nested.toml: not valid TOML: it is nested too deeply" in complaint(
        edgekd("run", tmp_path / "nested.toml"), 2
    )


@pytest.mark.parametrize("error", [ValueError("a\nb"), RecursionError(), MemoryError(), zlib.error("c"), KeyError("d")])
def test_whatever_a_parser_raises_is_bad_input(error):
    with pytest.raises(BadInputError, match=r"^x\.bin: not a thing: ") as refused, reading("x.bin", "a thing"):
        raise error
    assert refused.value.__cause__ is error
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), DeviceError("lost"), BadInputError("x.bin: no")])
def test_what_ends_the_program_and_our_own_errors_pass(error):
    with pytest.raises(type(error)) as passed, reading("x.bin", "a thing"):
        raise error
    assert str(passed.value) == str(error)


def test_a_file_that_another_one_needs_is_named_alone():
    with (
        pytest.raises(BadInputError, match=r"^y\.bin: it is bad$"),
        reading("x.bin", "a thing"),
        reading("y.bin", "one"),
    ):
        raise BadInputError("it is bad")


def test_a_bad_input_is_told_with_its_file():
    with pytest.raises(BadInputError, match=r"^x\.bin: it is bad$"), reading("x.bin", "a thing"):
        raise BadInputError("it is bad")


def test_a_file_beyond_its_limit_a_folder_and_a_device_are_refused(tmp_path):
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate(DOCUMENT + 1)
    with pytest.raises(BadInputError, match=r"large\.json: 67,108,865 bytes, where at most 67,108,864 make sense"):
        read_json(tmp_path / "large.json")
    with pytest.raises(BadInputError, match="a folder, not a file"):
        read_toml(tmp_path)
    with pytest.raises(BadInputError, match="/dev/zero: not a regular file"):
        read_json(Path("/dev/zero"))
    with pytest.raises(BadInputError, match="not a path"):
        require_file(tmp_path / "a\0b")


def test_json_lines_end_at_line_feeds_only(tmp_path):
    path, texts = tmp_path / "x.jsonl", [LINES, "b"]
    path.write_text("\n".join(json.dumps(text, ensure_ascii=False) for text in [*texts, ""]) + "\n", newline="\n")
    assert [(n, json.loads(line)) for n, line in read_lines(path)] == [(1, LINES), (2, "b"), (3, "")]


def _npz(header: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    padded = header.encode().ljust(117) + b"\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("shape", "data", "words"),
    [
        ("(1099511627776,)", b"abcd", "promises 4,398,046,511,104 bytes and holds 4"),
        ("(4,)", bytes(12), "promises 16 bytes and holds 12"),
        ("(-1, -1)", bytes(4), "not a readable npz file"),
        ("(1,", bytes(4), "not a readable npz file"),
        ("((),)", bytes(4), "not a readable npz file"),
    ],
)
def test_an_array_that_promises_what_it_does_not_hold(tmp_path, shape, data, words):
    (tmp_path / "x.npz").write_bytes(_npz(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}", data))
    with pytest.raises(BadInputError, match=words):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_survive_every_way_of_packing_and_damage_in_each_is_bad_input(tmp_path, method):
    values = np.arange(1000, dtype=np.float32)
    whole = _npz("{'descr': '<f4', 'fortran_order': False, 'shape': (1000,)}", values.tobytes(), method)
    (tmp_path / "x.npz").write_bytes(whole)
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["x"], values)
    (tmp_path / "x.npz").write_bytes(whole[:60] + bytes(20) + whole[80:])
    with pytest.raises(BadInputError, match=r"x\.npz: not a readable npz file"):
        read_npz(tmp_path / "x.npz")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    """Two gigabytes of zeros in two megabytes, said in the directory alone: nothing is unpacked to find out."""
    content = bytearray(_npz("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(4)))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(BadInputError, match="unpacks to more than 1,073,741,824 bytes"):
        read_npz(tmp_path / "x.npz")
