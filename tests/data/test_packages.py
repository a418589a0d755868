"""Files of installed packages, found without importing what holds them."""

import sys

import pytest

from edgekd.data._packages import package_file
from edgekd.errors import BadInputError

ADVICE = "pip install --no-deps bomb==1.0"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that cannot be imported, with one file of data."""
    folder = tmp_path / "edgekd_bomb"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "data" / "table.csv").write_text("1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_finds_a_file_without_importing_its_package(package):
    assert package_file("edgekd_bomb", "data/table.csv", ADVICE) == package / "data" / "table.csv"
    assert "edgekd_bomb" not in sys.modules


def test_a_missing_package_says_what_installs_it():
    with pytest.raises(
        BadInputError, match="package 'edgekd_absent' is not installed: pip install --no-deps bomb==1.0"
    ):
        package_file("edgekd_absent", "data/table.csv", ADVICE)


def test_a_missing_file_says_which(package):
    with pytest.raises(BadInputError, match="package 'edgekd_bomb' holds no data/other.csv: pip install"):
        package_file("edgekd_bomb", "data/other.csv", ADVICE)
