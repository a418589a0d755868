"""A reporter that shows nothing, and keeps how long each step of what it follows took."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgekd.progress import Reporter, Tracker


class Stopwatch(Reporter):
    """`laps[title]` holds the seconds per unit of each advance but the first, which warms up.

    With `threads`, time of the processor is counted and shared among them, so that another program does not matter.
    """

    def __init__(self, threads: int = 0) -> None:
        super().__init__(quiet=True)
        self._threads = threads
        self.laps: dict[str, list[float]] = defaultdict(list)
        self.warnings: list[str] = []

    @contextmanager
    def track(self, title: str, total: int, done: int = 0) -> Iterator[Tracker]:
        """Follow what advances while the block runs."""
        yield _Lap(self.laps[title], self._now)

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.warnings.append(message)

    def _now(self) -> float:
        return time.process_time() / self._threads if self._threads else time.perf_counter()

    def seconds(self, title: str) -> float | None:
        """Return the shortest lap; None where there was none."""
        return min(self.laps.get(title) or (), default=None)


class _Lap(Tracker):
    def __init__(self, laps: list[float], now: Callable[[], float]) -> None:
        super().__init__(None, None)
        self._laps, self._now, self._last, self._first = laps, now, now(), True

    def advance(self, count: int = 1, note: str = "") -> None:
        now = self._now()
        if not self._first or count > 1:
            self._laps.append((now - self._last) / count)
        self._last, self._first = now, False
