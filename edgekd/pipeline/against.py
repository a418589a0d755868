"""Two models of one network, bundles or files of any runtime: how far apart their outputs are on the same inputs."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.bundle import GOLDEN, Manifest, TensorSpec, load_bundle
from edgekd.data.npz import read_npz
from edgekd.devices import Device
from edgekd.distance import clear_agreement, sqnr
from edgekd.errors import BadInputError
from edgekd.measure import predict
from edgekd.measure.model_file import Shapes, as_bundle, require_file_for
from edgekd.measure.predictions import require_finite
from edgekd.pipeline.fleet import Member, needs_of, on_each, raise_if_all_failed
from edgekd.progress import SILENT, Reporter
from edgekd.runner.judge import float_step
from edgekd.schema import Count, Schema, Share

Array = NDArray[Any]
Arrays = Mapping[str, Array]
LEAST_DB = 20.0  # of signal to noise; int8 that is nearer than that still does its job


class OutputDistance(Schema):
    """One output over `n` samples; `sqnr_db` is None where it is equal, `agreement` where no manifest tells classes."""

    output: str
    n: Count
    sqnr_db: float | None
    largest: float
    agreement: Share | None = None


class Verdict(Schema):
    """How far a model is from a reference on a device; `ok`: each output is at least `least_db` from noise."""

    model: str
    reference: str
    device: str
    ok: bool
    least_db: float
    outputs: tuple[OutputDistance, ...] = ()
    error: str | None = None


def verify_against(
    model: Path,
    reference: Path,
    members: Sequence[Member],
    *,
    shapes: Shapes | None = None,
    inputs: Path | None = None,
    least_db: float = LEAST_DB,
    reporter: Reporter = SILENT,
) -> list[Verdict]:
    """Run both on each device, on the reference's golden inputs, given ones, or such as are made up for a file.

    Tensors are paired by name, or else by order, and by what their shapes say of where the channels are.
    Raises BadInputError for models whose tensors cannot be paired.
    """
    require_file_for([model, reference], shapes, inputs)
    with ExitStack() as held:
        ours, theirs = (held.enter_context(as_bundle(path, shapes, inputs)) for path in (model, reference))
        pair = _Pair(load_bundle(ours), load_bundle(theirs))
        golden = read_npz(theirs / GOLDEN)
        samples = {spec.name: golden[f"input:{spec.name}"] for spec in pair.reference.inputs}
        fed = pair.inputs(samples)

        def verdict(device: Device) -> Verdict:
            found, expected = predict(device, ours, fed), predict(device, theirs, samples)
            for outputs in (found, expected):
                require_finite(outputs, device.uri)
            apart = tuple(_distance(*each) for each in pair.outputs(found, expected))
            near = all(row.sqnr_db is None or row.sqnr_db >= least_db for row in apart)
            return Verdict(
                model=str(model), reference=str(reference), device=device.uri, ok=near, least_db=least_db, outputs=apart
            )

        outcomes = raise_if_all_failed(
            on_each(members, verdict, reporter, needs=needs_of([pair.model, pair.reference]))
        )
        lost = Verdict(model=str(model), reference=str(reference), device="", ok=False, least_db=least_db)
        return [
            found.result or lost.model_copy(update={"device": found.uri, "error": str(found.error)})
            for found in outcomes
        ]


class _Pair:
    """A model and its reference, tensor by tensor."""

    def __init__(self, model: Manifest, reference: Manifest) -> None:
        self.model, self.reference = model, reference
        self._inputs = _paired(model.inputs, reference.inputs, "input")
        self._outputs = _paired(model.outputs, reference.outputs, "output")

    def inputs(self, samples: Arrays) -> dict[str, Array]:
        """The reference's inputs, in the model's types and layout."""
        return {mine.name: to_bundle(mine, from_bundle(their, samples[their.name])) for mine, their in self._inputs}

    def outputs(self, found: Arrays, expected: Arrays) -> list[tuple[str, Array, Array, bool]]:
        """Name, the model's output and the reference's, in real values and one layout; whether they are of classes."""
        return [
            (
                their.name, from_bundle(mine, found[mine.name]), from_bundle(their, expected[their.name]),
                (mine.labels or their.labels) is not None,
            )
            for mine, their in self._outputs
        ]  # fmt: skip


def _paired(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec], kind: str) -> list[tuple[TensorSpec, TensorSpec]]:
    if len(ours) != len(theirs):
        raise BadInputError(f"one has {len(ours)} {kind}s, the other {len(theirs)}: they are not one network")
    named = {spec.name: spec for spec in ours}
    by_name = named.keys() == {spec.name for spec in theirs}
    return [
        _laid_out(named[their.name] if by_name else mine, their, kind) for mine, their in zip(ours, theirs, strict=True)
    ]


def _laid_out(mine: TensorSpec, their: TensorSpec, kind: str) -> tuple[TensorSpec, TensorSpec]:
    """The two with layouts in which they have one shape, as the model sees them; files do not tell theirs."""
    for layouts in ((mine.layout, their.layout), ("NHWC", their.layout), (mine.layout, "NHWC")):
        pair = [spec.model_copy(update={"layout": lay}) for spec, lay in zip((mine, their), layouts, strict=True)]
        if _alike(*(spec.sample_shape for spec in pair)):
            return pair[0], pair[1]
    shapes = " and ".join(str(list(spec.shape)) for spec in (mine, their))
    raise BadInputError(f"{kind} {their.name!r}: shapes {shapes} are not those of one tensor")


def _alike(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _distance(name: str, found: Array, expected: Array, classes: bool) -> OutputDistance:
    if found.shape != expected.shape:
        raise BadInputError(f"output {name!r} is {found.shape} here and {expected.shape} in the reference")
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    return OutputDistance(
        output=name, n=len(expected), sqnr_db=sqnr(found, expected), largest=float(apart.max()),
        agreement=clear_agreement(found, expected, float_step(expected)) if classes else None,
    )  # fmt: skip
