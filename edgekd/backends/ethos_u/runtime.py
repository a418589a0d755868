"""LiteRT on a host that stands in for a device with an Ethos-U, whose compiled file no host can run."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List, Optional

from edgekd.backends.tflite.runtime import LiteRT
from edgekd.runner.bundle import Arrays
from edgekd.runner.errors import RunnerError


class EthosU(LiteRT):
    """The file that Vela was given: its answers are TFLite's, its time is not the NPU's."""

    SUFFIX: ClassVar[Optional[str]] = None  # a file without a bundle is LiteRT's own

    def footprint(self) -> Optional[Dict[str, int]]:
        """Nothing beyond what Vela planned, which the manifest says."""
        return {}

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Refused: a host's time says nothing of an NPU."""
        raise RunnerError("bad-input", "nothing is timed of an Ethos-U: placement.json has Vela's estimate")


RUNTIME = EthosU
