"""The same network gets the same quantisers, weights and biases as before: `placed/` shows them."""

from tests.kept_text import assert_kept
from tests.quantization.placements import FILE, told


def test_what_is_quantised_is_what_it_was() -> None:
    """Where a change is meant, `python -m tests.quantization.placements` writes it down."""
    assert_kept(told(), FILE)
