"""A bundle that exists already, verified on devices: golden parity and, with data, what it is worth there and here."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import Manifest, Preprocessing, load_bundle
from edgekd.data.dataset import Split, is_tokens, resized
from edgekd.data.npz import read_npz
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, EdgekdError
from edgekd.measure import census, verify
from edgekd.measure.difference import Difference, compare_outputs, from_host, from_reference
from edgekd.measure.protocol import Options
from edgekd.measure.task import METRICS
from edgekd.pipeline.fleet import Member, muster, on_each, some
from edgekd.pipeline.proof import outputs_on
from edgekd.progress import SILENT, Reporter

Array = NDArray[Any]
Arrays = Mapping[str, Array]
HOST = "local:"


@dataclass(frozen=True)
class Grade:
    """What a bundle is worth on a device; `difference` is that from the host, None where the device is the host."""

    metric: str
    value: float
    samples: int
    difference: Difference | None


@dataclass(frozen=True)
class Exam:
    """Labelled samples for a bundle, and the metric of its first output on them."""

    bundle: Path
    manifest: Manifest
    samples: Split
    metric: str

    def taken_on(self, device: Device, options: Options | None = None) -> Arrays:
        """All answers by output, as the model sees them; errors as in `measure.Session`."""
        preprocessing = self.manifest.inputs[0].preprocessing or Preprocessing()
        return outputs_on(device, self.bundle, self.samples.inputs, preprocessing, options)

    def taken_here(self) -> Arrays | str:
        """The host's answers, or why it has none."""
        try:
            with closing(open_device(HOST)) as host:
                return self.taken_on(host)
        except EdgekdError as error:
            return f"the host cannot run it: {error}"

    def graded(self, device: Device, here: Arrays | str | None, options: Options | None = None) -> Grade:
        """Take it on a device, and hold that against what the host answered; errors as in `measure.Session`.

        `options` override the manifest's, as in a timing.
        """
        answers = self.taken_on(device, options)
        value = self._worth(answers)
        apart = None if here is None or device.uri == HOST else self._difference(answers, value, here)
        return Grade(self.metric, value, len(self.samples), apart)

    def _worth(self, answers: Arrays) -> float:
        return METRICS[self.metric](answers[self.manifest.outputs[0].name], self.samples.labels)

    def _difference(self, answers: Arrays, found: float, here: Arrays | str) -> Difference:
        if isinstance(here, str):
            return from_reference(found, self.manifest.metrics.get(self.metric), here)
        outputs = compare_outputs(answers, here, self.manifest.outputs, self.metric == "accuracy")
        return from_host(found, self._worth(here), outputs)


def exam_for(bundle: Path, manifest: Manifest, data: Path) -> Exam:
    """Samples and labels of an npz (x and y, or x_test and y_test); BadInputError where they do not suit the bundle."""
    samples, source = _labelled(data), manifest.inputs[0]
    length = source.shape[-1]
    if is_tokens(samples.inputs) and length is not None:
        samples = Split(resized(samples.inputs, length), samples.labels)
    elif source.preprocessing is None and samples.inputs.dtype.kind != "f":
        raise BadInputError(f"{data}: the bundle says nothing of preprocessing, so x must hold float model inputs")
    return Exam(bundle, manifest, samples, _metric_of(samples, data))


def verify_bundle(bundle: Path, uri: str = HOST, data: Path | None = None) -> dict[str, Any]:
    """Golden parity, the census of kernels and, with data, the metric; `ok` says whether parity holds."""
    return verify_on_each(bundle, muster([uri]), data)[0]


def verify_on_each(
    bundle: Path, members: Sequence[Member], data: Path | None = None, reporter: Reporter = SILENT
) -> list[dict[str, Any]]:
    """The same on several devices at once. One that fails has its error in its row, unless all do: that is raised.

    With data the host takes the same exam, once for all of them: what a device answers otherwise is its `difference`.
    """
    manifest = load_bundle(bundle)
    exam = exam_for(bundle, manifest, data) if data else None
    here = exam.taken_here() if exam and beyond_host(members) else None

    def verdict(device: Device) -> dict[str, Any]:
        report = _parity(bundle, device)
        return report | (_shown(exam.graded(device, here)) if exam else {})

    return [
        outcome.result or {"device": outcome.uri, "ok": False, "error": str(outcome.error)}
        for outcome in some(on_each(members, verdict, reporter))
    ]


def beyond_host(members: Sequence[Member]) -> bool:
    """Whether any device is another than the host, so that the host's own answers are wanted."""
    return any(member.uri != HOST for member in members)


def _shown(grade: Grade) -> dict[str, Any]:
    report = {"samples": grade.samples, grade.metric: grade.value}
    return report | ({"difference": grade.difference.model_dump(mode="json")} if grade.difference else {})


def _parity(bundle: Path, device: Device) -> dict[str, Any]:
    golden = [verdict.model_dump(mode="json") for verdict in verify(device, bundle)]
    kernels = census(device, bundle)
    report: dict[str, Any] = {"bundle": str(bundle), "device": device.uri, "ok": all(row["ok"] for row in golden)}
    report |= {"golden": golden, "kernels": {"int8": kernels.int8, "total": kernels.total}}
    return report | ({"warning": kernels.warning} if kernels.warning else {})


def _metric_of(samples: Split, data: Path) -> str:
    """Integers are classes, floats the scores of pairs: of rows 2i and 2i+1, which both carry it."""
    if samples.labels.dtype.kind != "f":
        return "accuracy"
    first, second = samples.labels[::2], samples.labels[1::2]
    if len(first) != len(second) or not np.array_equal(first, second):
        raise BadInputError(f"{data}: y holds scores of pairs, so rows 2i and 2i+1 must both carry the score of theirs")
    return "spearman"


def _labelled(path: Path) -> Split:
    """Raw samples as in training, and labels or scores."""
    arrays = read_npz(path)
    for inputs, labels in (("x", "y"), ("x_test", "y_test")):
        if inputs in arrays and labels in arrays:
            return Split(arrays[inputs], arrays[labels])
    there = ", ".join(arrays) or "nothing"
    raise BadInputError(f"{path}: needs arrays x and y (or x_test and y_test); there is: {there}")
