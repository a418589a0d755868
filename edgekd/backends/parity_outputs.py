"""Parity of a bundle: what it answered, whoever ran it, against the reference."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle
from edgekd.backends.parity import DOES_NOT_COUNT, Parity, compare
from edgekd.bundle import Manifest, TensorSpec
from edgekd.quantization.parts import Part, judged_apart, lost_channels

Array = NDArray[Any]


def prove(
    manifest: Manifest,
    answers: Iterable[tuple[int, Mapping[str, Array]]],
    reference: Mapping[str, Array],
    unquantized: Mapping[str, Array] | None = None,
    parts: Mapping[str, Sequence[Part]] | None = None,
) -> list[Parity]:
    """A row per output and batch size, or per part of an output whose `parts` are unlike.

    `answers` are a bundle's outputs at each batch size, `unquantized` the float model's outputs (int8 only).
    """
    rows = []
    for batch, outputs in answers:
        for spec in manifest.outputs:
            trio = (from_bundle(spec, outputs[spec.name]), reference[spec.name], (unquantized or {}).get(spec.name))
            rows += _judged(spec, trio, (parts or {}).get(spec.name, ()), manifest.tolerance, batch)
    return rows


def _judged(
    spec: TensorSpec,
    trio: tuple[Array, Array, Array | None],
    parts: Sequence[Part],
    tolerance: Mapping[str, float],
    batch: int,
) -> list[Parity]:
    """The rows of one output. Of several parts each has a step of its own, and none is a classification."""
    output, reference, unquantized = trio
    apart = judged_apart(parts, reference) if output.shape == reference.shape else ()
    whole = compare(
        spec.name, output, reference, tolerance, batch=batch, step=spec.step, unquantized=unquantized,
        classes=spec.labels is not None,
    )  # fmt: skip
    lost = None if unquantized is None else lost_channels(reference, unquantized)
    if lost is not None:
        return [whole.model_copy(update={"ok": False, "drifts": False, "reason": f"{DOES_NOT_COUNT}{lost}"})]
    if not apart:
        return [whole]
    limits = {kind: least for kind, least in tolerance.items() if kind != "agreement"}
    return [
        compare(
            f"{spec.name}[{part.name}]", part.of(output), part.of(reference), limits, batch=batch, step=part.step,
            unquantized=None if unquantized is None else part.of(unquantized),
        )
        for part in apart
    ]  # fmt: skip
