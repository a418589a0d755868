"""The same graph is written as the same operators, shapes and constants as before: `lowered/` shows them."""

import re

import pytest

from tests.backends.lowerings import BACKENDS, FOLDER, told

NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_what_is_written_is_what_it_was(backend: str) -> None:
    """Where a change is meant, `python -m tests.backends.lowerings` writes it down, and the diff shows all of it.

    Steps hang on sums, whose order differs between CPUs: numbers may be one part in a hundred apart.
    """
    parts = (FOLDER / f"{backend}.txt").read_text(encoding="utf-8").removeprefix("# ").split("\n\n# ")
    known = {name: lines.splitlines() for name, _, lines in (part.partition("\n") for part in parts)}
    found = dict(told(*BACKENDS[backend]))
    assert found.keys() == known.keys()
    for name, lines in found.items():
        assert [NUMBER.sub("~", line) for line in lines] == [NUMBER.sub("~", line) for line in known[name]], name
        numbers, before = (list(map(float, NUMBER.findall("\n".join(text)))) for text in (lines, known[name]))
        assert numbers == pytest.approx(before, rel=0.01, abs=0.002), name
