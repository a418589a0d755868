"""What nobody should send the C runner: refused in one line as run.py refuses it, and no damage done by any of it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.export import runner
from tests.export.c_runner import SOURCES, failure, need, succeed
from tests.export.test_bad_input import relist
from tests.fuzz.mutate import mutate_archive, mutate_bytes, mutate_json
from tests.measure.bundles import edit_manifest, golden, rehash

MUTATIONS = 400
READERS = Path(__file__).with_name("c_readers.c")


def edit_model(folder: Path, change: Callable[[bytes], bytes]) -> None:
    (folder / "model.tflite").write_bytes(change((folder / "model.tflite").read_bytes()))
    rehash(folder)


def link(folder: Path, name: str, target: Path) -> None:
    outside = Path(shutil.copytree(folder, folder.parent / "outside"))
    (folder / name).symlink_to(outside / target)
    relist(folder, f"{name}/golden.npz" if name == "folder" else name)


def flip(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def spec(folder: Path, kind: str, **changes: Any) -> None:
    (found,) = json.loads((folder / "manifest.json").read_text())[kind]
    edit_manifest(folder, **{kind: [found | changes]})


def truncate(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])
    rehash(folder)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "absolute": lambda folder: relist(folder, "/etc/passwd"),
    "above": lambda folder: relist(folder, "../bundle/golden.npz"),
    "above within": lambda folder: relist(folder, "a/../../bundle/golden.npz"),
    "backslash": lambda folder: relist(folder, "..\\golden.npz"),
    "empty name": lambda folder: relist(folder, ""),
    "dot": lambda folder: relist(folder, "."),
    "link to a file": lambda folder: link(folder, "link.npz", Path("golden.npz")),
    "link to a folder": lambda folder: link(folder, "folder", Path()),
    "flipped model": lambda folder: flip(folder, "model.tflite"),
    "flipped golden": lambda folder: flip(folder, "golden.npz"),
    "missing file": lambda folder: (folder / "golden.npz").unlink(),
    "a folder for a file": lambda folder: ((folder / "golden.npz").unlink(), (folder / "golden.npz").mkdir()),
    "unlisted model": lambda folder: edit_manifest(folder, model="other.tflite"),
    "no hash": lambda folder: edit_manifest(folder, files={"model.tflite": {}, "golden.npz": {}}),
    "format as a text": lambda folder: edit_manifest(folder, format="1"),
    "format 2": lambda folder: edit_manifest(folder, format=2),
    "unknown backend": lambda folder: edit_manifest(folder, backend="coreml"),
    "files as a list": lambda folder: edit_manifest(folder, files=[]),
    "no shape": lambda folder: edit_manifest(folder, inputs=[{"name": "input", "dtype": "float32"}]),
    "no inputs": lambda folder: edit_manifest(folder, inputs=[]),
    "unknown tolerance": lambda folder: edit_manifest(folder, tolerance={"max": 2.0}),
    "unknown option": lambda folder: edit_manifest(folder, runtime={"turbo": True}),
    "unknown delegate": lambda folder: edit_manifest(folder, runtime={"delegate": "magic"}),
    "a library of its own": lambda folder: edit_manifest(folder, runtime={"library": "./evil.so"}),
    "text for a batch": lambda folder: edit_manifest(folder, batch="1"),
    "another type": lambda folder: spec(folder, "inputs", dtype="int8"),
    "another shape": lambda folder: spec(folder, "outputs", shape=[None, 4]),
    "another name": lambda folder: spec(folder, "outputs", name="probabilities"),
    "truncated golden": lambda folder: truncate(folder, "golden.npz"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "no object": lambda folder: (folder / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bundle_is_refused_as_run_py_refuses_it(program: Path, folder: Path, damage: str) -> None:
    DAMAGE[damage](folder)
    here, there = failure(program, "verify", folder), runner.failure("verify", folder)
    assert here[:2] == there[:2] == (2, "bad-input")


@pytest.mark.parametrize(
    "change", [lambda b: b"not a model", lambda b: b"", lambda b: b[:2000], lambda b: bytes(len(b))]
)
def test_a_model_that_is_none_is_bad_input(program: Path, folder: Path, change: Callable[[bytes], bytes]) -> None:
    edit_model(folder, change)
    assert failure(program, "build", folder)[:2] == (2, "bad-input")


def test_a_model_with_other_tensors_is_bad_input(program: Path, folder: Path) -> None:
    """Its manifest is believed only as far as the model agrees: no byte is copied between two sizes."""
    arrays = {f"input:{name}": golden(folder, "input:input") for name in ("input", "other")}
    np.savez(folder / "golden.npz", **arrays, **{"output:logits": golden(folder, "output:logits")})
    edit_manifest(folder, inputs=2 * json.loads((folder / "manifest.json").read_text())["inputs"])
    rehash(folder)
    assert "its manifest differs" in failure(program, "verify", folder)[2]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--batch", "0"], ["--batch=1.5"], ["--seconds", "-1"], ["--seconds", "inf"], ["--seconds", "nan"]),
        *(["--count", "many"], ["--option", "delegate"], ["--option", "delegate=magic"], ["--option", "turbo=on"]),
        *(["--unknown"], ["--batch"], ["another", "word"], ["--affinity=3-1"], ["--affinity", "9999"]),
        *(["--scenario", "server"],),
    ],
)
def test_wrong_arguments_end_in_a_record_too(program: Path, folder: Path, arguments: list[str]) -> None:
    here, there = failure(program, "bench", folder, *arguments), runner.failure("bench", folder, *arguments)
    assert here[:2] == there[:2] == (2, "bad-input")


@pytest.mark.parametrize("kind", ["name", "type", "shape", "scalar", "empty", "pickled", "compressed", "no archive"])
def test_inputs_that_do_not_fit_are_refused(program: Path, folder: Path, kind: str) -> None:
    right = golden(folder, "input:input")
    arrays = {"name": {"x": right}, "type": {"input": right.astype(">f4")}, "shape": {"input": right[:, :8]}}
    arrays |= {"scalar": {"input": right[0, 0, 0, 0]}, "empty": {"input": right[:0]}, "pickled": {"input": [None]}}
    source, result = folder.parent / "in.npz", folder.parent / "out.npz"
    (np.savez_compressed if kind == "compressed" else np.savez)(source, **arrays.get(kind, {"input": right}))
    if kind == "no archive":
        source.write_bytes(b"PK\x05\x06 broken")
    code, _, message = failure(program, "predict", folder, "--input", source, "--output", result)
    assert code == 2
    assert ("which np.savez does not" in message) == (kind == "compressed")  # the only one that run.py takes
    assert not result.exists()


def test_outputs_that_cannot_be_written_are_a_failure(program: Path, folder: Path) -> None:
    np.savez(folder.parent / "in.npz", input=golden(folder, "input:input"))
    words = ("predict", folder, "--input", folder.parent / "in.npz", "--output")
    assert failure(program, *words, folder.parent / "nowhere" / "out.npz")[:2] == (3, "failed")
    assert failure(program, *words, folder)[:2] == (3, "failed")  # a folder is in the way
    assert not [path for path in folder.parent.iterdir() if path.suffix == ".tmp"]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that reads what others wrote, with every access checked."""
    need("gcc")
    found = tmp_path_factory.mktemp("readers") / "readers"
    sources = [path for path in SOURCES.glob("*.c") if path.name != "main.c"]
    checked = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    succeed("gcc", "-std=c11", "-D_GNU_SOURCE", *checked, f"-I{SOURCES}", READERS, *sources, "-lm", "-ldl", "-o", found)
    return found


@pytest.mark.parametrize("kind", ["manifest", "manifest by value", "golden", "golden by array"])
def test_mutated_files_are_refused_or_read(readers: Path, folder: Path, kind: str) -> None:
    """Under AddressSanitizer and UndefinedBehaviorSanitizer, each file in a process of its own."""
    name = "manifest.json" if kind.startswith("manifest") else "golden.npz"
    mutate = {"manifest by value": mutate_json, "golden by array": mutate_archive}.get(kind, mutate_bytes)
    content, paths = (folder / name).read_bytes(), []
    for seed in range(MUTATIONS):
        paths.append(Path(shutil.copytree(folder, folder.parent / str(seed), copy_function=os.link)) / name)
        paths[-1].unlink()
        paths[-1].write_bytes(mutate(content, Random(seed)))
    argv = [str(readers), name, *map(str, [folder / name, *paths])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env={"ASAN_OPTIONS": "detect_leaks=0"})
    codes = [int(line) for line in done.stdout.split()]
    assert len(codes) == 1 + MUTATIONS, done.stderr[-3000:]
    assert codes[0] == 0  # the real one
    assert set(codes[1:]) == {0, 2}, done.stderr[-3000:]  # mutations do damage, some of them none


def test_mutated_models_are_refused_or_run(program: Path, folder: Path) -> None:
    """The library checks a flatbuffer before it believes it; what passes as one may still refuse to run."""
    content, codes = (folder / "model.tflite").read_bytes(), []
    for seed in range(60):
        edit_model(folder, lambda _, seed=seed: mutate_bytes(content, Random(seed)))
        codes.append(subprocess.run([program, "verify", folder], capture_output=True, timeout=60).returncode)
    assert set(codes) <= {0, 1, 2, 3}
    assert {0, 2} <= set(codes)
