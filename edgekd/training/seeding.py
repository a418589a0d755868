"""Every random choice is a function of the seed and of what it decides, so that a replay decides the same."""

from edgekd.files import digest


def derive(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as `("order", epoch)`."""
    return int(digest([seed, *purpose])[:16], 16) >> 1
