"""Names that were metaphors do not come back; CONTRIBUTING.md lists those that were weighed and stay."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RETIRED = re.compile(
    r"crew|likeness|settl|deliver|oddit|lesson|classroom|workshop|\bexam\b|muster|leash|parcel|census|\bstrays?\b",
    re.IGNORECASE,
)
TEXTS = ("*.py", "*.md", "*.toml", "*.c", "*.h", "*.j2")
FOLDERS = ("edgekd", "docs", "targets", "export", "examples", "benchmarks")
WEIGHED = {"settl": "edgekd/onnx_import/"}  # that it stays there has its line in CONTRIBUTING.md


def test_retired_words_stay_away() -> None:
    assert [*retired()] == []


def retired() -> Iterator[str]:
    """Each with its place."""
    paths = [path for folder in FOLDERS for kind in TEXTS for path in (ROOT / folder).rglob(kind)]
    for path in [*paths, ROOT / "README.md"]:
        name = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield from (
                f"{name}:{number}: {found}"
                for found in RETIRED.findall(line)
                if not name.startswith(WEIGHED.get(found.lower(), "/"))
            )
