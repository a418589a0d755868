"""Property tests draw the same examples alone and among others."""

import importlib.util
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

MANY = "\n".join(f"A{number} = {1000 + number}" for number in range(500))


def drawn() -> list[list[int]]:
    seen = []

    @settings(derandomize=True)
    @given(st.lists(st.integers(1000, 1_000_000), min_size=20))
    def note(numbers: list[int]) -> None:
        seen.append(numbers)

    note()
    return seen


def test_examples_do_not_depend_on_what_is_imported(tmp_path: Path) -> None:
    before = drawn()
    (tmp_path / "constants.py").write_text(MANY)
    spec = importlib.util.spec_from_file_location("constants_of_a_test", tmp_path / "constants.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        assert drawn() == before
    finally:
        del sys.modules[spec.name]
