"""Arrays that stay in their file: what is in memory, and what becomes of a file that lies about where they are."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import data
from edgekd.bundle import Preprocessing
from edgekd.data import _picked, check, dataset, npz
from edgekd.data.dataset import prepare
from edgekd.data.npz import map_npz
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from tests.memory import peak_of

Array = np.ndarray[Any, Any]
LARGE = 48 << 20
SMALL: dict[str, Array] = {
    "a": np.arange(7, dtype=np.float32),
    "bc": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "d": np.array(["x", "yz"]),
    "e": np.zeros(2, [("left", "<i4"), ("right", "<f8", 2)]),
    "f": np.arange(20_000).astype(np.uint8),  # more than a zip file's reader takes at once
    "none": np.zeros((0, 3)),
    "one": np.array(5.0),
}
EVERY = st.integers(0, 2**32 - 1)
# Fields of the directory: where they are in an entry, how long, what could be written there.
FIELDS = {"method": (10, "<H"), "crc": (16, "<I"), "packed": (20, "<I"), "size": (24, "<I"), "offset": (42, "<I")}


@pytest.fixture(autouse=True)
def every_array_is_large(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "large" not in request.fixturenames:
        monkeypatch.setattr(npz, "MAPPED", 1)


@pytest.fixture(scope="module", params=[np.uint8, np.float32])
def large(request: pytest.FixtureRequest) -> dict[str, Array]:
    """48 MB of images or signals to teach from, a few to validate and to test."""
    numbers = (np.arange(LARGE // np.dtype(request.param).itemsize) % 251).astype(request.param)
    inputs = numbers.reshape((-1, 3, 64, 64) if request.param is np.uint8 else (-1, 3, 1024))
    labels = np.arange(len(inputs)) % 4
    few = {f"{axis}_{part}": array[:64] for axis, array in (("x", inputs), ("y", labels)) for part in ("val", "test")}
    return {"x_train": inputs, "y_train": labels, **few}


def content(arrays: dict[str, Array]) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)  # type: ignore[arg-type]
    return made.getvalue()


WHOLE = content(SMALL)


def test_a_large_array_that_is_stored_as_it_is_is_not_in_memory(
    large: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (dataset, check):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 20)

    def load(kind: str) -> tuple[data.Dataset, int]:
        return peak_of(lambda: data.load(Data(name="npz", path=str(tmp_path / f"{kind}.npz")), seed=0))

    np.savez(tmp_path / "stored.npz", **large)  # type: ignore[arg-type]
    np.savez_compressed(tmp_path / "packed.npz", **large)  # type: ignore[arg-type]
    (stored, peak), (packed, most) = load("stored"), load("packed")
    assert stored.digest() == packed.digest()
    assert stored.preprocessing == packed.preprocessing
    assert most > LARGE
    assert peak < LARGE / 3


def test_a_drawn_split_copies_nothing_and_changes_no_number(
    large: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a file nor of memory; what it is compared with copies both parts, as small arrays are."""
    for module in (dataset, check):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr(_picked, "PART_BYTES", 1 << 20)
    given = {name: array for name, array in large.items() if "val" not in name}
    np.savez(tmp_path / "x.npz", **given)  # type: ignore[arg-type]
    named = Data(name="npz", path=str(tmp_path / "x.npz"))
    mapped, peak = peak_of(lambda: data.load(named, seed=0))
    pairs = [(given[f"x_{part}"], given[f"y_{part}"]) for part in ("train", "test")]
    held, peak_in_memory = peak_of(lambda: data.as_dataset(pairs))
    monkeypatch.setattr(dataset, "LARGE", 2 * LARGE)
    copied, most = peak_of(lambda: data.as_dataset(pairs))
    assert max(peak, peak_in_memory) < LARGE / 3 < LARGE < most
    rows = np.random.default_rng(0).permutation(len(copied.val))
    for found in (mapped, held):
        assert (len(found.val), found.digest()) == (len(copied.val), copied.digest())
        assert (found.preprocessing, found.input_range) == (copied.preprocessing, copied.input_range)
        for chosen in (rows, slice(3, 9)):
            np.testing.assert_array_equal(found.val.inputs[chosen], copied.val.inputs[chosen])
        few = dataset.limit(found.train, 7, seed=1).inputs
        assert isinstance(few, np.ndarray)
        np.testing.assert_array_equal(few, dataset.limit(copied.train, 7, seed=1).inputs)


def test_mapping_takes_little(large: dict[str, Array], tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=large["x_train"])
    _, peak = peak_of(lambda: map_npz(tmp_path / "x.npz"))
    assert peak < LARGE / 10


def test_values_are_checked_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.ones((5_000, 1_000), np.float32)
    monkeypatch.setattr(check, "CHUNK_BYTES", 1 << 20)
    found, peak = peak_of(lambda: check.numbers(values, "x"))
    assert found is values
    assert peak < 2 << 20 < values.size
    values[4_321, 7] = np.inf
    with pytest.raises(BadInputError, match="x is not finite in sample 4321"):
        check.numbers(values, "x")


def test_arrays_are_what_numpy_reads_and_belong_to_their_reader(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(WHOLE)
    found = map_npz(tmp_path / "x.npz")
    assert list(found) == list(SMALL)
    for name, array in SMALL.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert found["bc"].flags.f_contiguous
    found["f"][:] = 1
    assert (tmp_path / "x.npz").read_bytes() == WHOLE


def test_what_lies_at_an_odd_address_is_moved_before_a_network_sees_it(tmp_path: Path) -> None:
    odd = []
    for length in range(1, 9):
        name = "x" * length
        np.savez(tmp_path / "x.npz", **{name: np.ones((2, 3), np.float32)})  # type: ignore[arg-type]
        found = map_npz(tmp_path / "x.npz")[name]
        odd.append(not found.flags.aligned)
        assert prepare(found, Preprocessing()).flags.aligned
    assert any(odd)


def refused(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        map_npz(path)
    assert str(caught.value).startswith(f"{path}: not a readable npz file: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def entries(whole: bytes) -> list[int]:
    """Where the directory's entries begin."""
    found, at = list[int](), whole.find(b"PK\x01\x02")
    while at >= 0:
        found.append(at)
        at = whole.find(b"PK\x01\x02", at + 1)
    return found


def written(path: Path, number: int, **fields: int) -> Path:
    """The file with an entry of its directory that says something else."""
    whole = bytearray(WHOLE)
    for field, value in fields.items():
        place, form = FIELDS[field]
        struct.pack_into(form, whole, entries(WHOLE)[number] + place, value % 2 ** (8 * struct.calcsize(form)))
    path.write_bytes(whole)
    return path


def info(number: int) -> zipfile.ZipInfo:
    return zipfile.ZipFile(io.BytesIO(WHOLE)).infolist()[number]


def test_a_file_that_lies_about_its_arrays_is_one_clear_line(tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "x.npz", (info(0), info(1))
    size = first.file_size
    assert "not where the directory says" in refused(written(path, 0, offset=len(WHOLE) + 100))
    assert "not where the directory says" in refused(written(path, 0, offset=second.header_offset + 1))
    assert "reaches into what follows it" in refused(written(path, 0, offset=second.header_offset))
    assert "reaches into what follows it" in refused(written(path, 0, size=len(WHOLE), packed=len(WHOLE)))
    assert "promises 28 bytes and holds 29" in refused(written(path, 0, size=size + 1))
    assert "Bad CRC-32" in refused(written(path, 0, size=size - 4, packed=size - 4))
    assert "Bad CRC-32" in refused(written(path, 0, crc=1))


def test_a_value_that_has_changed_is_found(tmp_path: Path) -> None:
    path, whole = tmp_path / "x.npz", bytearray(WHOLE)
    whole[WHOLE.rindex(bytes(range(200, 250)))] += 1
    path.write_bytes(whole)
    assert "Bad CRC-32 for file 'f.npy'" in refused(path)


def outcome(content: bytes, path: Path) -> None:
    """The arrays as they were, or one line."""
    path.write_bytes(content)
    try:
        found = map_npz(path)
    except BadInputError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
    else:
        for name in found.keys() & SMALL.keys():
            np.testing.assert_array_equal(found[name], SMALL[name])


@given(length=st.integers(0, len(WHOLE) - 1))
def test_no_truncated_file_is_taken(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.npz"
    path.write_bytes(WHOLE[:length])
    refused(path)


NEAR = st.integers(0, len(WHOLE) + 100)


@given(
    lies=st.lists(st.tuples(st.sampled_from(list(FIELDS)), st.integers(0, len(SMALL) - 1), NEAR | EVERY), min_size=1)
)
def test_whatever_the_directory_says_arrays_are_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, lies: list[tuple[str, int, int]]
) -> None:
    whole, places = bytearray(WHOLE), entries(WHOLE)
    for field, number, value in lies:
        place, form = FIELDS[field]
        struct.pack_into(form, whole, places[number] + place, value % 2 ** (8 * struct.calcsize(form)))
    outcome(bytes(whole), tmp_path_factory.getbasetemp() / "lies.npz")


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_whatever_is_written_anywhere_arrays_are_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, other: bytes
) -> None:
    outcome(WHOLE[:place] + other + WHOLE[place + len(other) :], tmp_path_factory.getbasetemp() / "other.npz")
