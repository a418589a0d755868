"""Whether a quantised bundle pays: timed on this machine in turns with the float model in the same runtime."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure.stand_in import may_be_timed
from edgekd.measure.statistics import MIN_REPLICATES, Median
from edgekd.pipeline.bench import bench_bundles
from edgekd.schema import Schema
from edgekd.target import Limits, Target

REPLICATES, SECONDS, COUNT = MIN_REPLICATES, 0.12, 5
FEW = 2  # samples that the float bundle is written with


class Speed(Schema):
    """Median latencies of one inference, ms; `pays` is None where no difference may be claimed."""

    ours_ms: float
    float_ms: float
    pays: bool | None

    @property
    def ratio(self) -> float:
        """How many times as fast as float."""
        return self.float_ms / self.ours_ms


def speed_here(
    bundle: Path, original: onnx.ModelProto, target: Target, inputs: Mapping[str, NDArray[Any]]
) -> Speed | None:
    """Return how a bundle compares with the float model; None where it cannot be timed here.

    That is where the runtime only stands in for the device, or does not take the float model.
    """
    if not may_be_timed(target.backend):
        return None
    few = {name: array[:FEW] for name, array in inputs.items()}
    with TemporaryDirectory(prefix="edgekd-") as scratch:
        plain, roomy = Path(scratch) / "float", target.model_copy(update={"limits": Limits(), "io": "float"})
        try:
            outputs = Reference(original).run(few)
            write_bundle(original, roomy, plain, "float", name="float", inputs=few, outputs=outputs)
            rows = bench_bundles([bundle, plain], replicates=REPLICATES, seconds=SECONDS, count=COUNT)
        except (BadInputError, DeviceError):
            return None
    ours, floats = rows
    if ours.get("p50") is None or floats.get("p50") is None:
        return None
    return Speed(ours_ms=ours["p50"], float_ms=floats["p50"], pays=_faster(Median.of(ours), Median.of(floats)))


def _faster(ours: Median, floats: Median) -> bool | None:
    return ours.ms < floats.ms if ours.differs_from(floats) else None
