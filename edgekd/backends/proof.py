"""Parity of a bundle, end to end, run by whoever can run bundles."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.parity import Parity, compare
from edgekd.bundle import load_bundle

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
) -> list[Parity]:
    """A row per output and batch size. `inputs` are float NCHW, `unquantized` the float model's outputs (int8 only)."""
    manifest = load_bundle(bundle)
    stored = {spec.name: to_bundle(spec, inputs[spec.name]) for spec in manifest.inputs}
    rows = []
    for batch in dict.fromkeys(batches):
        outputs = predict(bundle, stored, batch)
        rows += [
            compare(
                spec.name,
                from_bundle(spec, outputs[spec.name]),
                reference[spec.name],
                manifest.tolerance,
                batch=batch,
                step=spec.step,
                unquantized=unquantized[spec.name] if unquantized else None,
            )
            for spec in manifest.outputs
        ]
    return rows
