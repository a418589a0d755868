"""What a device makes of a bundle: its own golden outputs, the parity set, the census of kernels, and accuracy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.parity import Parity
from edgekd.backends.proof import first_divergence, prove
from edgekd.bundle import Preprocessing, load_bundle
from edgekd.data.dataset import Split, prepare
from edgekd.devices import Device
from edgekd.measure import Kernels, census, predict, verify
from edgekd.measure.protocol import Options
from edgekd.measure.task import accuracy
from edgekd.progress import SILENT, Reporter
from edgekd.target import Target

Array = NDArray[Any]
Arrays = dict[str, Array]
PARITY_INPUTS, PARITY_BATCHES = 512, (1, 8)


@dataclass(frozen=True)
class Expected:
    """A QDQ model, the inputs to try it on, and what the reference makes of them, quantised and in float if known."""

    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays
    unquantized: Arrays | None = None


@dataclass(frozen=True)
class Evidence:
    """What was seen; `golden` names the outputs that differ from the bundle's own golden ones."""

    rows: tuple[Parity, ...]
    golden: tuple[str, ...]
    kernels: Kernels
    divergence: str | None

    @property
    def broken(self) -> str | None:
        """The first promise of parity that does not hold, with where it first goes wrong."""
        failed = next((row for row in self.rows if row.counts and not row.ok), None)
        if failed is not None:
            where = f"; {self.divergence}" if self.divergence else ""
            return f"parity does not hold: {failed.output} at batch {failed.batch}: {failed.reason}{where}"
        return f"the bundle's own golden outputs differ: {', '.join(self.golden)}" if self.golden else None

    @property
    def weak(self) -> str | None:
        """Why a case proves nothing, if one does not."""
        return next((row.reason for row in self.rows if not row.counts), None)


def gather_evidence(
    device: Device, bundle: Path, target: Target, expected: Expected, reporter: Reporter = SILENT
) -> Evidence:
    """Run a bundle at batch 1, 8 and the target's own; errors as in `measure.Session`."""
    batches = dict.fromkeys((*PARITY_BATCHES, target.batch))
    with reporter.track(f"proving {target.name}", total=2 + len(batches)) as bar:

        def ask(folder: Path, stored: Arrays, batch: int) -> Arrays:
            bar.advance(note=f"batch {batch}")
            return predict(device, folder, stored, batch)

        bar.advance(note="golden")
        golden = tuple(verdict.output for verdict in verify(device, bundle) if not verdict.ok)
        rows = prove(bundle, expected.inputs, expected.outputs, batches, ask, expected.unquantized)
        bar.advance(note="kernels")
        kernels = census(device, bundle)
        wrong = any(row.counts and not row.ok for row in rows)
        divergence = first_divergence(expected.model, target, expected.inputs, ask) if wrong else None
    return Evidence(tuple(rows), golden, kernels, str(divergence) if divergence else None)


def accuracy_on(
    device: Device, bundle: Path, samples: Split, preprocessing: Preprocessing, options: Options | None = None
) -> float:
    """Accuracy of a one-input classifier on raw samples, computed here from what the device predicts."""
    manifest = load_bundle(bundle)
    source, answer = manifest.inputs[0], manifest.outputs[0]
    stored = {source.name: to_bundle(source, prepare(samples.inputs, preprocessing))}
    outputs = predict(device, bundle, stored, manifest.batch, options)
    return accuracy(from_bundle(answer, outputs[answer.name]), samples.labels)
