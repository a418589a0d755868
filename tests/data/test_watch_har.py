"""The watch recordings: windows, the split by person, and a file that may be anyone's."""

import os
import pickle
from importlib.util import find_spec

import numpy as np
import pytest

from edgekd.data import load
from edgekd.data.watch_har import read, windows
from edgekd.errors import BadInputError
from edgekd.recipe import Data

LABELS = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]
needs_seglearn = pytest.mark.skipif(find_spec("seglearn") is None, reason="needs pip install --no-deps seglearn")


def recordings():
    """Two recordings of each of ten people, every sample of which holds the person's number."""
    people = np.repeat(np.arange(1, 11), 2)
    content = {"X": [np.full((100 + 30 * person, 6), float(person)) for person in people]}
    return content | {"y": np.arange(20) % 7, "subject": people, "y_labels": LABELS}


def save(path, content, protocol=2):
    """A `.npy` of one object, in seglearn's own protocol by default."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(np.array(content, object), file, protocol=protocol)
    return Data(name="watch-har", path=str(path))


@pytest.mark.parametrize("protocol", [2, 4])
def test_people_are_never_shared_between_the_splits(tmp_path, protocol):
    raw = read(save(tmp_path / "watch.npy", recordings(), protocol))
    people = [set(split.inputs[:, 0, 0]) for split in (raw.train, raw.val, raw.test)]
    assert people == [{1, 2, 3, 4, 5, 6}, {7}, {8, 9, 10}]
    for split in (raw.train, raw.val, raw.test):
        assert (split.inputs == split.inputs[:, :1, :1]).all()  # no window spans two people's recordings


def test_labels_follow_their_windows(tmp_path):
    raw = read(save(tmp_path / "watch.npy", recordings()))
    assert raw.classes == tuple(LABELS)
    for split in (raw.train, raw.val, raw.test):
        for person in np.unique(split.inputs):
            own = np.unique(split.labels[split.inputs[:, 0, 0] == person])
            assert set(own) == {(2 * int(person) - 2) % 7, (2 * int(person) - 1) % 7}


def test_windows_are_two_seconds_half_overlapping_with_the_rest_dropped():
    recording = np.arange(249)[:, None] * 10 + np.arange(6)
    cut = windows(recording)
    assert cut.dtype == np.float32
    assert cut.shape == (3, 6, 100)
    assert cut[:, 2, 0].tolist() == [2, 502, 1002]
    assert cut[2, 5, -1] == 1995


@needs_seglearn
def test_the_installed_recordings_are_normalised_by_train_alone():
    data = load(Data(name="watch-har"), seed=0)
    assert [len(split) for split in (data.train, data.val, data.test)] == [2669, 524, 1484]
    assert sum(map(len, (data.train, data.val, data.test))) == 4677
    assert all(split.inputs.shape[1:] == (6, 100) for split in (data.train, data.val, data.test))
    # Preprocessing is written with six digits.
    np.testing.assert_allclose(data.preprocessing.mean, data.train.inputs.mean((0, 2), np.float64), rtol=1e-5)
    np.testing.assert_allclose(data.preprocessing.std, data.train.inputs.std((0, 2), np.float64), rtol=1e-5)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_is_refused_before_it_does(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"it asks for posix\.mkdir, which is not data"):
        read(save(tmp_path / "watch.npy", Evil(), protocol))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("what", ["builtins.eval", "numpy.load", "numpy._core.multiarray.fromfile", "_codecs.decode"])
def test_only_arrays_come_out(tmp_path, what):
    module, _, name = what.rpartition(".")
    path = tmp_path / "watch.npy"
    data = save(path, {})
    head = path.read_bytes().partition(b"\n")[0] + b"\n"
    path.write_bytes(head + f"c{module}\n{name}\n(Vx\ntR.".encode())
    with pytest.raises(BadInputError, match="which is not data"):
        read(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("subject"), "must hold X, subject, y, y_labels"),
        (lambda content: content["X"].pop(), "do not belong together"),
        (lambda content: content["X"].__setitem__(3, np.zeros((99, 6))), r"recording 3 is \(99, 6\)"),
        (lambda content: content["X"].__setitem__(3, np.zeros((200, 5))), r"recording 3 is \(200, 5\)"),
    ],
)
def test_other_content_is_one_clear_line(tmp_path, change, message):
    content = recordings()
    change(content)
    with pytest.raises(BadInputError, match=message):
        read(save(tmp_path / "watch.npy", content))


@pytest.mark.parametrize("cut", [0, 3, 60, 300, -1])
def test_a_damaged_file_is_one_clear_line(tmp_path, cut):
    data = save(tmp_path / "watch.npy", recordings())
    path = tmp_path / "watch.npy"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInputError, match="not readable") as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        read(Data(name="watch-har", path=str(tmp_path / "none.npy")))
