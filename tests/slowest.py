"""Which files of tests take longest: all of them have eight minutes on two cores."""

from collections import Counter
from collections.abc import Iterable

import pytest

WORTH_TELLING = 60.0  # seconds of tests


def summary(reports: Iterable[pytest.TestReport], count: int = 10) -> list[str]:
    """Return a line with the sum, and one for each of the slowest files; nothing where little was run."""
    spent: Counter[str] = Counter()
    for report in reports:
        spent[report.nodeid.partition("::")[0]] += report.duration  # type: ignore[assignment]
    if spent.total() < WORTH_TELLING:
        return []
    lines = [f"{seconds:6.1f} s {name}" for name, seconds in spent.most_common(count)]
    return [f"{spent.total():.0f} s in all processes, most of them in", *lines]
