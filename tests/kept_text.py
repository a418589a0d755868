"""What code makes, told as text that is kept beside the tests: what a change makes of it is seen in its diff."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")
Parts = Iterable[tuple[str, list[str]]]  # names, lines


def numbers(values: Any) -> str:
    """An array as how many, the sum of their magnitudes, and where they lie, as a part of that sum."""
    array = np.asarray(values, np.float64).reshape(-1)
    mass = np.abs(array).sum()
    lean = (array * np.arange(1, array.size + 1)).sum() / (array.size * mass) if mass else 0.0
    return f"{array.size} of {mass:.3e}, {lean:.3f}"


def keep(parts: Parts, path: Path) -> None:
    """Write a file anew."""
    path.write_text("\n".join("".join(f"{line}\n" for line in (f"# {name}", *lines)) for name, lines in parts), "utf-8")


def assert_kept(parts: Parts, path: Path) -> None:
    """All are as in the file, but for numbers with a point: sums hang on their order, which differs between CPUs."""
    written = path.read_text("utf-8").removeprefix("# ").split("\n\n# ")
    known = {name: lines.splitlines() for name, _, lines in (part.partition("\n") for part in written)}
    found = dict(parts)
    assert found.keys() == known.keys()
    for name, lines in found.items():
        assert [NUMBER.sub("~", line) for line in lines] == [NUMBER.sub("~", line) for line in known[name]], name
        now, then = (list(map(float, NUMBER.findall("\n".join(text)))) for text in (lines, known[name]))
        assert now == pytest.approx(then, rel=0.01, abs=0.002), name
