"""What is wrong with a recipe, gathered: a fault does not keep the next thing from being tried."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from edgekd import plugins
from edgekd.errors import DeviceError, EdgekdError, MissingExtraError
from edgekd.recipe import Recipe

T = TypeVar("T")
WORKS = "works"


def forgiven(recipe: Recipe, target: str) -> tuple[type[EdgekdError], ...]:
    """What does not stop a run: a missing SDK without a device; of an optional target its device's absence, too."""
    if target in recipe.optional:
        return MissingExtraError, DeviceError
    return () if target in recipe.devices else (MissingExtraError,)


@dataclass
class Faults:
    """What was tried, each with what was found, what is wrong, and what is only doubtful.

    Attributes:
        seconds: after so many, nothing new is tried.
    """

    seconds: float
    found: list[dict[str, str]] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def attempt(
        self,
        part: str,
        work: Callable[[], T],
        shown: Callable[[T], str] | None = None,
        *,
        optional: tuple[type[EdgekdError], ...] = (),
    ) -> T | None:
        """Return what `work` returns; where it fails, or time is up, nothing. What is `shown` as nothing is not listed.

        `optional` are the failures that do not stop a run: warnings.
        """
        if time.monotonic() - self._started > self.seconds:
            self.warn(part, "not tried: the time for a dry run is up")
            return None
        try:
            result = work()
        except EdgekdError as error:
            if isinstance(error, optional):
                self.warn(part, str(error))
                return None
            self.add(part, str(error), error.hint)
        except (Exception, SystemExit) as error:  # the user's own code: anything may come out of it
            self.add(part, plugins.told(error))
        else:
            told = shown(result) if shown else WORKS
            self.found += [{"part": part, "found": told}] if told else []
            return result
        return None

    def add(self, part: str, fault: str, hint: str = "") -> None:
        """Note a fault, once."""
        row = {"part": part, "fault": fault} | ({"next": hint} if hint else {})
        if fault not in {known["fault"] for known in self.faults}:
            self.faults.append(row)

    def warn(self, part: str, doubt: str) -> None:
        """Note what does not stop a run."""
        self.warnings.append({"part": part, "warning": doubt})
