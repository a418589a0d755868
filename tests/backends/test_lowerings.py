"""The same graph is written as the same operators, shapes and constants as before: `lowered/` shows them."""

import pytest

from tests.backends.lowerings import BACKENDS, FOLDER, told
from tests.kept_text import assert_kept


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_what_is_written_is_what_it_was(backend: str) -> None:
    """Where a change is meant, `python -m tests.backends.lowerings` writes it down."""
    assert_kept(told(*BACKENDS[backend]), FOLDER / f"{backend}.txt")
