"""What a device answers against what the host answers from the same file: device − host, in points and in steps.

Runtimes round differently on different processors, so accuracy belongs to the device. The points are what a user
feels; the steps say whether they come from roundings or from something worse.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from edgekd.bundle import TensorSpec
from edgekd.distance import Array, Steps, steps_apart
from edgekd.metrics import Scale
from edgekd.runner.judge import float_step
from edgekd.schema import Amount, Count, Positive, Schema, Share


class OutputDifference(Schema):
    """One output over `n` samples; a step is the parity gate's. None, but for `argmax_changes`, has its `reason`.

    `differing` is the share of values that do not round to the host's own step. `argmax_changes` counts the samples
    that get another class; None where nothing is classified.
    """

    output: str
    n: Count
    step: Positive | None = None
    max_steps: Amount | None = None
    p999_steps: Amount | None = None
    differing: Share | None = None
    argmax_changes: Count | None = None
    reason: str | None = None


class Difference(Schema):
    """`points` are the device's metric − `metric`, the host's or, before that, the reference's; × 100 of a fraction.

    `reason` says why it is not held against the host's own answers; then there are no outputs.
    """

    against: Literal["host", "reference"] | None
    metric: float | None
    points: float | None
    reason: str | None = None
    outputs: tuple[OutputDifference, ...] = ()


def from_host(device: float, host: float, outputs: Sequence[OutputDifference], scale: Scale) -> Difference:
    """The difference of two metrics, with that of the outputs below it."""
    return Difference(against="host", metric=host, points=scale.factor * (device - host), outputs=tuple(outputs))


def from_reference(device: float, reference: float | None, reason: str, scale: Scale) -> Difference:
    """Where the host cannot run the bundle, for a `reason`: what the reference is worth, if the manifest says so."""
    if reference is None:
        return Difference(
            against=None, metric=None, points=None, reason=f"{reason}; the manifest knows no metric of the reference"
        )
    points = scale.factor * (device - reference)
    return Difference(against="reference", metric=reference, points=points, reason=reason)


def compare_outputs(
    device: Mapping[str, Array], host: Mapping[str, Array], specs: Sequence[TensorSpec], classified: str | None
) -> list[OutputDifference]:
    """A row per output of a bundle, of which one may be `classified`; arrays are as the model sees them, (N, …)."""
    return [_compare(spec, device[spec.name], host[spec.name], spec.name == classified) for spec in specs]


def _compare(spec: TensorSpec, device: Array, host: Array, classes: bool) -> OutputDifference:
    row = OutputDifference(output=spec.name, n=len(host))
    if device.shape != host.shape:
        return row.model_copy(update={"reason": f"shape {device.shape} instead of {host.shape}"})
    for who, answers in (("the device's", device), ("the host's", host)):
        if not np.isfinite(answers).all():
            return row.model_copy(update={"reason": f"{who} answers are not finite"})
    step = spec.step or (float_step(host) if host.dtype.kind == "f" else 1.0)
    steps = Steps.of(steps_apart(device, host, step))
    changes = int(np.sum(device.argmax(1) != host.argmax(1))) if classes and host.ndim == 2 else None
    figures = {"max_steps": steps.max, "p999_steps": steps.p999, "differing": 1 - steps.exact}
    return row.model_copy(update={"step": step, "argmax_changes": changes, **figures})
