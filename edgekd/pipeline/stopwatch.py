"""A reporter that shows nothing, and keeps how long each step of what it follows took."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from edgekd.progress import Reporter, Tracker

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """Seconds that something takes: at least, with the processors to itself, and as busy as the machine is now."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: "Span") -> "Span":
        """One after the other."""
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, times: float) -> "Span":
        """So many times."""
        return Span(self.low * times, self.high * times)


class Stopwatch(Reporter):
    """`laps[title]` holds a Span per unit of each advance but the first, which warms up; `parts[title]` that of a part.

    With `threads`, the least time is the processors' shared among them, so that another program does not matter.
    """

    def __init__(self, threads: int = 0) -> None:
        super().__init__(quiet=True)
        self._threads = threads
        self.laps: dict[str, list[Span]] = defaultdict(list)
        self.parts: dict[str, Span] = {}
        self.warnings: list[str] = []

    @contextmanager
    def track(self, title: str, total: int, done: int = 0) -> Iterator[Tracker]:
        """Follow what advances while the block runs."""
        yield _Lap(self.laps[title], self._taken)

    def timed(self, title: str, work: Callable[[], T]) -> Callable[[], T]:
        """Return the work, which keeps how long it takes, its child processes too, once it has succeeded."""

        def keeping() -> T:
            wall, cpu = time.perf_counter(), _processors()
            result = work()
            taken = time.perf_counter() - wall
            self.parts[title] = Span(min(_processors() - cpu, taken) if self._threads else taken, taken)
            return result

        return keeping

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.warnings.append(message)

    def _taken(self) -> Callable[[int], Span]:
        """Start; what it returns tells the time since, shared among so many units."""
        wall, cpu = time.perf_counter(), time.process_time()

        def since(count: int) -> Span:
            taken = time.perf_counter() - wall
            least = min((time.process_time() - cpu) / self._threads, taken) if self._threads else taken
            return Span(least / count, taken / count)

        return since

    def span(self, title: str) -> Span | None:
        """Return the shortest of the laps at least, their mean as the machine is now; None where there was none."""
        laps = self.laps.get(title)
        if not laps:
            return None
        return Span(min(lap.low for lap in laps), sum(lap.high for lap in laps) / len(laps))


class _Lap(Tracker):
    def __init__(self, laps: list[Span], start: Callable[[], Callable[[int], Span]]) -> None:
        super().__init__(None, None)
        self._laps, self._start, self._since, self._first = laps, start, start(), True

    def advance(self, count: int = 1, note: str = "") -> None:
        if not self._first or count > 1:
            self._laps.append(self._since(count))
        self._since, self._first = self._start(), False


def _processors() -> float:
    """Seconds of the processors that this process and those that it started and outlived have had."""
    return sum(os.times()[:4])
