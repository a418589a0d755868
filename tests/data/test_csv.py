from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.errors import BadInputError
from edgekd.recipe import Data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [f"{n},{-n / 2},{'yes' if n % 2 else 'no'}" for n in range(40)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("\n".join(["a,b,answer", *rows]) + "\n")
    return tmp_path


def load(folder: Path) -> data.Dataset:
    return data.load(Data(name="csv", path=str(folder)), seed=0)


def test_the_last_column_is_the_class(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.classes == ("no", "yes")
    np.testing.assert_array_equal(dataset.test.inputs[3], np.float32([3, -1.5]))
    assert dataset.test.labels[3] == 1
    assert (len(dataset.train), len(dataset.val)) == (36, 4)
    assert len(dataset.preprocessing.mean) == 2  # normalised per column


def test_a_validation_table_is_used(folder: Path) -> None:
    (folder / "val.csv").write_text("a,b,answer\n1,2,yes\n")
    assert load(folder).val.labels.tolist() == [1]


def test_classes_that_are_numbers_keep_their_order(folder: Path) -> None:
    """A teacher that was trained on the numbers has output 2 for 2 and 10 for 10; spaces make no other class."""
    rows = [f"{n},{n},{' ' * (n % 2)}{n % 11}" for n in range(44)]
    for path in folder.glob("*.csv"):
        path.write_text("\n".join(["a,b,answer", *rows]))
    found = load(folder)
    assert found.classes == tuple(map(str, range(11)))
    np.testing.assert_array_equal(found.test.labels, np.arange(44) % 11)


@pytest.mark.parametrize("apart", [";", "\t"])
def test_tables_as_office_programs_write_them(folder: Path, apart: str) -> None:
    """Semicolons or tabs, a byte order mark, an empty line at the end."""
    wanted = load(folder)
    for path in folder.glob("*.csv"):
        path.write_text(path.read_text().replace(",", apart) + "\n", encoding="utf-8-sig")
    found = load(folder)
    np.testing.assert_array_equal(found.train.inputs, wanted.train.inputs)
    np.testing.assert_array_equal(found.test.labels, wanted.test.labels)
    assert found.classes == wanted.classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,answer\n1,2\n", "row 2 has 2 columns, the header 3"),
        ("a,b,answer\n1,x,yes\n", "row 2: could not convert string to float: 'x'"),
        ("a,b,answer\n1,nan,yes\n", "x_test is not finite in sample 0"),
        ("a,b,answer\n1,2,yes\n1,2, \n", r"test\.csv: row 3 has no class; leave out what nobody labelled"),
        ("a,b,answer\n1,2,maybe\n", "class 'maybe' is not in train.csv"),
        ("a,b,answer\n", "x_test has 0 samples"),
        ("", "not a CSV file with a header"),
        ("a,answer\n1,yes\n", r"test\.csv: its columns are a, answer, of train\.csv a, b, answer"),
        ("b,a,answer\n1,2,yes\n", r"test\.csv: its columns are b, a, answer, of train\.csv a, b, answer"),
        ("1,2,yes\n3,4,no\n", "row 1 holds numbers, where the names of the columns are wanted"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "test.csv").write_text(text)
    with pytest.raises(BadInputError, match=message):
        load(folder)


def test_bytes_that_are_not_text_and_absent_files_are_one_line(folder: Path) -> None:
    (folder / "test.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="not a CSV file"):
        load(folder)
    (folder / "test.csv").unlink()
    with pytest.raises(BadInputError, match=r"test\.csv: no such file"):
        load(folder)
