"""Parity of a bundle, end to end, run by whoever can run bundles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.parity import DOES_NOT_COUNT, Parity, compare
from edgekd.bundle import TensorSpec, load_bundle
from edgekd.quantization.parts import Part, judged_apart, lost_channels

Array = NDArray[Any]
Predict = Callable[[Path, dict[str, Array], int], dict[str, Array]]
"""A bundle's folder, inputs in its own types, a batch size; gives outputs by name. The runner is behind it."""


def prove(
    bundle: Path,
    inputs: Mapping[str, Array],
    reference: Mapping[str, Array],
    batches: Iterable[int],
    predict: Predict,
    unquantized: Mapping[str, Array] | None = None,
    parts: Mapping[str, Sequence[Part]] | None = None,
) -> list[Parity]:
    """A row per output and batch size, or per part of an output whose `parts` are unlike.

    `inputs` are float NCHW, `unquantized` the float model's outputs (int8 only).
    """
    manifest = load_bundle(bundle)
    stored = {spec.name: to_bundle(spec, inputs[spec.name]) for spec in manifest.inputs}
    rows = []
    for batch in dict.fromkeys(batches):
        outputs = predict(bundle, stored, batch)
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
