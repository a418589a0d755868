"""A file of ours is read at a sitting."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("edgekd", "targets", "export", "examples", "docs", "tests", "benchmarks")
KINDS = (".py", ".md", ".toml", ".c", ".h", ".cpp", ".cc", ".j2", ".css", ".js", ".html", ".sh")
MOST = 500
WRITTEN = {"docs/api.md"}  # by `python -m benchmarks.reference`


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_500_lines(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*")
        if path.suffix in KINDS and path.is_file()
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MOST and name not in WRITTEN} == {}
