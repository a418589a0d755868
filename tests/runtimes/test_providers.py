"""OpenVINO's provider in ONNX Runtime, from its own wheel: executed, judged, its nodes counted."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd.backends.openvino.runtime import OpenVINO
from edgekd.devices import Device, open_device
from edgekd.measure import Session
from tests.measure.bundles import MakeBundle, bundle, golden

__all__ = ["bundle"]
pytestmark = pytest.mark.slow
OPTIONS = {"provider": "openvino"}


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """This machine, by a Python of its own: two wheels of ONNX Runtime do not live in one."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = Path(folder, "bin/python")
    wheels = [python, "-m", "pip", "install", "--quiet", "onnxruntime-openvino==1.24.1", "numpy"]
    subprocess.run(wheels, check=True)
    opened = open_device(f"local:?python={python}")
    yield opened
    opened.close()


@pytest.mark.parametrize("precision", ["int8", "float"])
def test_every_node_is_openvino_s_and_so_are_the_answers(device: Device, bundle: MakeBundle, precision: str) -> None:
    """int8 is OpenVINO's own arithmetic, which may be further away than the two steps of ONNX Runtime."""
    folder = bundle("onnxruntime", precision)
    session = Session(device, folder, OPTIONS)
    (verdict,) = session.verify()
    assert verdict.p999_steps is not None
    assert verdict.p999_steps <= OpenVINO.TOLERANCE["p999_steps"]
    assert verdict.ok == (verdict.max_steps is not None and verdict.max_steps <= 2.01)
    kernels = session.operator_coverage()
    assert kernels.fallback == 0
    assert kernels.ops == {"OpenVINOExecutionProvider": kernels.delegated}
    replicate = session.bench(0.01, 5)
    assert replicate.load.details["provider"] == f"OpenVINOExecutionProvider: {kernels.delegated} nodes"
    answers = session.predict({"input": golden(folder, "input:input")})["logits"]
    assert not np.array_equal(answers, np.zeros_like(answers))
