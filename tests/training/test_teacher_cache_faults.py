"""A cache that was killed, met a full disk or found none: one clear line, nothing lost."""

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError, DiskFullError
from edgekd.progress import SILENT, Reporter
from edgekd.training import CachedTeacher, Teacher, teacher_cache_files
from edgekd.training.batches import Batches
from tests.training.killed_cache import build

SCRIPT = Path(__file__).with_name("killed_cache.py")


def stored(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.npy")}


def test_killed_it_continues_to_the_bytes_of_an_unbroken_one(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    build(unbroken)
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(broken), "0.05"])
    deadline = time.monotonic() + 120
    while reached(broken) < 96:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.003)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert 96 <= reached(broken) < 500
    build(broken)
    assert len(stored(broken)) == 2 * 3  # views × (logits, classes, feature-0)
    assert stored(broken) == stored(unbroken)  # bit by bit: no tolerance
    assert not list(broken.glob("*/*.partial"))


@pytest.mark.usefixtures("every_chunk_committed")
@pytest.mark.parametrize(
    ("name", "damage"),
    [("feature-0.npy", "cut"), ("logits.npy", "remove"), ("logits.npy", "flip"), ("done.json", "empty")],
)
def test_an_unfinished_cache_that_was_damaged_starts_over(tmp_path, capsys, blobs, recipe_data, network, name, damage):
    teacher, data = Filling(network(), None), blobs(samples=200)
    teacher.limit = 2
    with pytest.raises(KeyboardInterrupt):
        prepare(teacher, tmp_path / "damaged", data, recipe_data)
    teacher.limit = None
    (path,) = tmp_path.glob(f"damaged/*/view-0.partial/{name}")
    whole = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        flipped = whole[:150] + bytes([whole[150] ^ 1]) + whole[151:]
        path.write_bytes({"cut": whole[:200], "empty": b"", "flip": flipped}[damage])
    prepare(teacher, tmp_path / "damaged", data, recipe_data, Reporter())
    assert f"{path} is damaged: the teacher is asked again" in capsys.readouterr().err
    prepare(teacher, tmp_path / "fresh", data, recipe_data)
    assert stored(tmp_path / "damaged") == stored(tmp_path / "fresh")


def reached(folder):
    return max((json.loads(path.read_text())["rows"] for path in folder.glob("*/view-0.partial/done.json")), default=0)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Filling(nn.Module):
    """A teacher beside which, at its second chunk, something else fills the disk; or Ctrl-C comes after `limit`."""

    def __init__(self, inner, folder):
        super().__init__()
        self.inner, self.folder, self.chunks, self.limit = inner, folder, 0, None

    def forward(self, images):
        self.chunks += len(images) > 1
        if self.limit and self.chunks > self.limit:
            raise KeyboardInterrupt
        if self.folder and len(images) > 1 and self.chunks == 2:
            with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
        return self.inner(images)


@pytest.fixture
def every_chunk_committed(monkeypatch):
    monkeypatch.setattr(teacher_cache_files, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(teacher_cache_files, "CHUNK", 64)


def prepare(teacher, folder, data, recipe, reporter=SILENT):
    source = CachedTeacher(Teacher(teacher, ("inner.0",), "float32"), folder, reporter)
    source.prepare(Batches(data, recipe, 32, 5, torch.device("cpu")), [0])


@pytest.mark.usefixtures("every_chunk_committed")
def test_a_disk_that_fills_up_is_one_clear_line_and_it_continues(small_disk, tmp_path, blobs, recipe_data, network):
    teacher, data = Filling(network(), small_disk), blobs(samples=1000)
    with pytest.raises(DiskFullError, match=r"view-0\.partial: the disk is full: make room, and the same command"):
        prepare(teacher, small_disk / "answers", data, recipe_data)
    (small_disk / "filler").unlink()
    assert reached(small_disk / "answers") == 64
    prepare(teacher, small_disk / "answers", data, recipe_data)
    prepare(teacher, tmp_path / "fresh", data, recipe_data)
    assert stored(small_disk / "answers") == stored(tmp_path / "fresh")


@pytest.mark.usefixtures("every_chunk_committed")
def test_a_file_that_may_not_grow_is_one_clear_line_and_it_continues(tmp_path, blobs, recipe_data, network):
    teacher, data = Filling(network(), None), blobs(samples=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(DiskFullError, match=r"view-0\.partial: the disk is full"):
            prepare(teacher, tmp_path / "limited", data, recipe_data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(teacher, tmp_path / "limited", data, recipe_data)
    prepare(teacher, tmp_path / "fresh", data, recipe_data)
    assert stored(tmp_path / "limited") == stored(tmp_path / "fresh")


def test_too_little_room_is_said_before_anything_is_built(small_disk, blobs, recipe_data, network):
    teacher, free = Filling(network(), small_disk), shutil.disk_usage(small_disk).free
    with pytest.raises(BadInputError, match=rf"need 1\.6 MB and .* has {free / 1e6:.1f} MB free: set cache\.top_k"):
        prepare(teacher, small_disk / "answers", blobs(samples=3000), recipe_data)
    assert teacher.chunks == 0
    assert not stored(small_disk)
