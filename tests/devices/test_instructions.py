"""int8 has to stay int8 all the way to the processor: the instructions of one inference on two ARM cores.

A count depends neither on this machine nor on its load. instructions.json keeps what it has to be with TensorFlow
Lite's library of tests/devices/install; after a change that is meant to cost or save instructions,
`python -m tests.devices.test_instructions` writes it anew.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.files import write_json
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from tests import factories
from tests.devices.instructions import CORES, LIBRARIES, Counter
from tests.export.c_runner import build
from tests.missing import miss

KEPT = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.02  # a count repeats to 0.1 %: what the runner prints has more digits or fewer
MOST_OF_FLOAT = {"cortex-a53": 0.75, "cortex-a76": 0.35}  # it is 0.63 and 0.28: the A76 has dot products
TARGET = load_target("raspberry-pi-4")

Count = Callable[..., float]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64") is None or not LIBRARIES.exists():
        miss("devices", "no qemu-user or no arm64 libraries here")
    return build(tmp_path_factory.mktemp("runner"), "aarch64")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return cache(lambda *made_of: make_bundle(folder, *made_of))


@pytest.fixture(scope="module", params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def count(core: str, runner: Path, bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Count:
    """`count(precision, …)`: instructions of one inference."""
    counter = Counter(tmp_path_factory.mktemp("counter"), runner, core)
    return cache(lambda *made_of, options=(): counter.per_inference(bundle(*made_of), *options))


def make_bundle(folder: Path, precision: str, keep_float: tuple[str, ...] = ()) -> Path:
    """A ResNet-8-like network with random weights, quantised and compiled as every model is."""
    model, x = factories.resnet(0, width=32, size=8)
    if precision == "int8":
        model = calibrate(model, find_scheme(TARGET.scheme), [{"input": x[:32]}], keep_float)
    path, inputs = folder / "-".join((precision, *keep_float)), {"input": x[:4]}
    write_bundle(model, TARGET, path, precision, name="net", inputs=inputs, outputs=Reference(model).run(inputs))
    return path


def off(core: str, precision: str, instructions: float) -> float:
    """By how much a count differs from the one that is kept, as a fraction of that."""
    return float(instructions / json.loads(KEPT.read_text())["instructions"][core][precision] - 1)


@pytest.mark.parametrize("precision", ["int8", "float"])
def test_an_inference_costs_what_it_did(core: str, count: Count, precision: str) -> None:
    assert off(core, precision, count(precision)) == pytest.approx(0, abs=TOLERANCE)


def test_int8_costs_less_than_float(core: str, count: Count) -> None:
    assert count("int8") < MOST_OF_FLOAT[core] * count("float")


def test_the_gate_sees_one_convolution_that_fell_back_to_float(core: str, count: Count) -> None:
    assert off(core, "int8", count("int8", ("conv_9",))) > 2 * TOLERANCE  # it is 12 % and 54 %


def test_the_gate_sees_kernels_that_were_not_taken(core: str, count: Count) -> None:
    assert off(core, "int8", count("int8", options=("delegate=none",))) > 2 * TOLERANCE  # it is 24 % and 133 %


def main() -> None:
    """Keep the counts of now."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runner, bundles = build(folder, "aarch64"), {kind: make_bundle(folder, kind) for kind in ("int8", "float")}
        counters = {core: Counter(folder, runner, core) for core in CORES}
        write_json(
            KEPT,
            {
                "library": "TensorFlow Lite 2.17.1, XNNPACK, one thread",
                "instructions": {
                    core: {kind: round(counter.per_inference(path)) for kind, path in bundles.items()}
                    for core, counter in counters.items()
                },
            },
        )


if __name__ == "__main__":
    main()
