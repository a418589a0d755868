"""A bundle that exists already, verified on devices: golden parity and, with data, what it is worth there and here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import Manifest, Preprocessing, load_bundle
from edgekd.data.dataset import Split
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, EdgekdError
from edgekd.measure import check
from edgekd.measure.difference import Difference, compare_outputs, from_host, from_reference
from edgekd.measure.predictions import require_finite
from edgekd.measure.protocol import Options
from edgekd.measure.stand_in import executed
from edgekd.metrics import Metric, Scale
from edgekd.outputs import first, joined, one
from edgekd.pipeline.fleet import Member, needs_of, on_each, parse_devices, raise_if_all_failed
from edgekd.pipeline.parity_evidence import chunks_on
from edgekd.pipeline.samples import read_samples, require_data_for
from edgekd.progress import SILENT, Reporter

Array = NDArray[Any]
Arrays = Mapping[str, Array]
HOST = "local:"


@dataclass(frozen=True)
class EvalResult:
    """What a bundle is worth on a device; `difference` is that from the host, None where the device is the host."""

    metric: Scale
    value: float
    samples: int
    difference: Difference | None


@dataclass(frozen=True)
class EvalSet:
    """Labelled samples for a bundle, and the metric of its outputs on them."""

    bundle: Path
    manifest: Manifest
    samples: Split
    metric: Metric

    @property
    def _classified(self) -> str | None:
        """The output whose largest value is the answer; None where there is none."""
        names = {spec.name: spec.name for spec in self.manifest.outputs}
        return one(names, first(self.metric.reads), self.metric.name) if self.metric.by_class else None

    def outputs_on_device(self, device: Device, options: Options | None = None) -> Arrays:
        """All answers by output, as the model sees them; errors as in `measure.Session`."""
        found: Arrays = joined([outputs for _, outputs in self._in_chunks(device, options)])
        return found

    def _in_chunks(self, device: Device, options: Options | None) -> Iterator[tuple[slice, Arrays]]:
        preprocessing = self.manifest.inputs[0].preprocessing or Preprocessing()
        for part, outputs in chunks_on(device, self.bundle, self.samples.inputs, preprocessing, options):
            require_finite(outputs, device.uri, part.start)
            yield part, outputs

    def outputs_on_host(self) -> Arrays | str:
        """The host's answers, or why it has none."""
        try:
            with closing(open_device(HOST)) as host:
                return self.outputs_on_device(host)
        except EdgekdError as error:
            return f"the host cannot run it: {error}"

    def evaluate_on(self, device: Device, here: Arrays | str | None, options: Options | None = None) -> EvalResult:
        """Take it on a device, and hold that against what the host answered; errors as in `measure.Session`.

        `options` override the manifest's, as in a timing.
        """
        if here is None or device.uri == HOST:
            rows = [
                self.metric.rows(outputs, self.samples.labels[part], part.start)
                for part, outputs in self._in_chunks(device, options)
            ]
            return EvalResult(self.metric.scale, self.metric.score(np.concatenate(rows)), len(self.samples), None)
        answers = self.outputs_on_device(device, options)
        value = self._worth(answers)
        return EvalResult(self.metric.scale, value, len(self.samples), self._difference(answers, value, here))

    def _worth(self, answers: Arrays) -> float:
        return self.metric(answers, self.samples.labels)

    def _difference(self, answers: Arrays, found: float, here: Arrays | str) -> Difference:
        if isinstance(here, str):
            return from_reference(found, self.manifest.metrics.get(self.metric.name), here, self.metric)
        outputs = compare_outputs(answers, here, self.manifest.outputs, self._classified)
        return from_host(found, self._worth(here), outputs, self.metric)


def eval_set_for(
    bundle: Path,
    manifest: Manifest,
    data: Path,
    reporter: Reporter = SILENT,
    any_range: bool = False,
    metric: str | None = None,
) -> EvalSet:
    """Samples and labels as `read_labelled` takes them; BadInputError where they do not suit the bundle.

    Inputs that reach elsewhere than what was trained are refused, or warned of, unless `any_range`. Without a `metric`,
    by name or the user's `module:object`, the task's own decides.
    """
    samples, found = read_samples(data, manifest, reporter, any_range, metric)
    return EvalSet(bundle, manifest, samples, found)


def verify_bundle(
    bundle: Path, uri: str = HOST, data: Path | None = None, *, any_range: bool = False, metric: str | None = None
) -> dict[str, Any]:
    """Golden parity, kernel coverage and, with data, the metric.

    `ok` says whether parity holds, `unproven` why the golden outputs cannot tell.
    """
    return verify_on_each(bundle, parse_devices([uri]), data, any_range=any_range, metric=metric)[0]


def verify_on_each(
    bundle: Path,
    members: Sequence[Member],
    data: Path | None = None,
    reporter: Reporter = SILENT,
    *,
    any_range: bool = False,
    metric: str | None = None,
) -> list[dict[str, Any]]:
    """The same on several devices at once. One that fails has its error in its row, unless all do: that is raised.

    With data the host is evaluated on them, too, once for all: what a device answers otherwise is its `difference`.
    """
    if bundle.is_file():
        raise BadInputError(
            f"{bundle}: a file has no golden outputs to be held to: --reference OTHER, a file or a bundle"
        )
    require_data_for(metric, data)
    manifest = load_bundle(bundle)
    eval_set = eval_set_for(bundle, manifest, data, reporter, any_range, metric) if data else None
    here = eval_set.outputs_on_host() if eval_set and beyond_host(members) else None

    def verdict(device: Device) -> dict[str, Any]:
        report = _parity(bundle, device) | executed(device, manifest.backend)
        return report | (_shown(eval_set.evaluate_on(device, here)) if eval_set else {})

    return [
        outcome.result or {"device": outcome.uri, "ok": False, "error": str(outcome.error)}
        for outcome in raise_if_all_failed(on_each(members, verdict, reporter, needs=needs_of([manifest])))
    ]


def beyond_host(members: Sequence[Member]) -> bool:
    """Whether any device is another than the host, so that the host's own answers are wanted."""
    return any(member.uri != HOST for member in members)


def _shown(result: EvalResult) -> dict[str, Any]:
    report = {"samples": result.samples, result.metric.name: result.value, "metric": result.metric.describe()}
    return report | ({"difference": result.difference.model_dump(mode="json")} if result.difference else {})


def _parity(bundle: Path, device: Device) -> dict[str, Any]:
    checked = check(device, bundle)
    rows, kernels = checked.golden, checked.kernels
    broken = any(not (row.ok or row.unproven) for row in rows)
    unproven = None if broken else next((row.unproven for row in rows if row.unproven), None)
    golden = [row.model_dump(mode="json") for row in rows]
    report: dict[str, Any] = {"bundle": str(bundle), "device": device.uri, "ok": not (broken or unproven)}
    counts: dict[str, Any] = {"int8": kernels.int8, "total": kernels.total}
    if kernels.delegated is not None:
        counts |= {"delegated": kernels.delegated, "fallback": kernels.fallback}
    report |= {"unproven": unproven, "golden": golden, "kernels": counts}
    return report | ({"warning": kernels.warning} if kernels.warning else {})
