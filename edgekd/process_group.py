"""Who works along: one process, or several that must take the same decisions."""

from collections.abc import Callable
from typing import TypeVar

from edgekd.errors import EdgekdError

T = TypeVar("T")


class MainProcessError(EdgekdError):
    """The main process has failed; it says why itself."""

    exit_code = 1


class ProcessGroup:
    """One process alone. Several, which torch knows of, are `edgekd.training.processes.Processes`."""

    number = 0
    size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes, prints and decides."""
        return self.number == 0

    def run_on_main(self, work: Callable[[], T]) -> T:
        """What `work` returns in the main process, to all of them; its failure stops all.

        The result must be picklable. Within `work` the main process is alone: further calls just work.
        """
        return work()

    def main_first(self, work: Callable[[], None]) -> None:
        """Let all do `work`, the main process before the others, so that they find what it has made."""
        self.run_on_main(work)
        if not self.is_main:
            work()
