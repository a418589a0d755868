"""Parity for real, through the runner: what every backend reaches, and that faults in a graph do not get through."""

from pathlib import Path

import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.target import load_target
from tests import factories
from tests.backends.faults import BACKENDS, MUTATIONS, SUBTLEST, Case, parity


@pytest.fixture(scope="module")
def resnet() -> Case:
    return Case(factories.resnet)


@pytest.fixture(scope="module")
def cases(resnet: Case) -> dict[str, Case]:
    others = {"mobilenet": factories.mobilenet, "dscnn": factories.dscnn}
    return {"resnet": resnet} | {name: Case(build) for name, build in others.items()}


@pytest.mark.parametrize("net", ["resnet", "mobilenet", "dscnn"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_parity_holds_at_batch_1_and_8(backend: str, net: str, cases: dict[str, Case], tmp_path: Path) -> None:
    """The tolerances are the backends' own: 2 steps at most for TFLite and ONNX Runtime, 4 at p99.9 for OpenVINO."""
    one, eight = cases[net].rows(backend, tmp_path, batches=(1, 8))
    assert (one.ok, one.reason) == (eight.ok, eight.reason) == (True, None)
    assert (one.batch, eight.batch, one.n) == (1, 8, 500)
    assert one.agreement == eight.agreement == 1
    assert one.max == eight.max, "the batch changes nothing"


def test_parity_holds_with_integer_borders(resnet: Case, tmp_path: Path) -> None:
    target = load_target("x86-tflite").model_copy(update={"io": "int8"})
    write_bundle(
        resnet.int8, target, tmp_path / "b", "int8", name="net", inputs=resnet.inputs, outputs=resnet.reference
    )
    (row,) = parity(tmp_path / "b", resnet.inputs, resnet.reference)
    assert (row.ok, row.reason) == (True, None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parity_of_the_float_variant(backend: str, resnet: Case, tmp_path: Path) -> None:
    """Float32 kernels differ in the order of their sums: 1e-2 of a step is 1e-4 of the range at most."""
    target = load_target(f"x86-{backend}")
    arguments = {"name": "net", "inputs": resnet.inputs, "outputs": resnet.unquantised}
    write_bundle(resnet.float, target, tmp_path / "b", "float", **arguments)  # type: ignore[arg-type]
    (row,) = parity(tmp_path / "b", resnet.inputs, resnet.unquantised)
    assert row.ok
    assert row.max is not None
    assert row.max < 1e-2


@pytest.mark.parametrize(
    ("backend", "fault"),
    [(backend, fault) for backend in BACKENDS for fault in (MUTATIONS if backend == "onnxruntime" else SUBTLEST)],
)
def test_a_mutated_graph_fails_the_gate(backend: str, fault: str, resnet: Case, tmp_path: Path) -> None:
    (row,) = resnet.rows(backend, tmp_path, resnet.mutated(MUTATIONS[fault]))
    assert not row.ok
    assert row.counts


def test_a_head_that_hardly_moves_does_not_count(resnet: Case, tmp_path: Path) -> None:
    """The same fault would pass: outputs that are all alike agree with anything."""
    dull = resnet.inputs["input"][:1].repeat(50, axis=0)
    reference = Reference(resnet.int8).run({"input": dull})
    target = load_target("x86-onnxruntime")
    write_bundle(resnet.int8, target, tmp_path / "b", "int8", name="net", inputs={"input": dull}, outputs=reference)
    (row,) = parity(tmp_path / "b", {"input": dull}, reference)
    assert not row.ok
    assert not row.counts
