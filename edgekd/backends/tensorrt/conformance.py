"""What NVIDIA's own parser and optimiser make of a graph, ahead of time and without a GPU, through TensorRT-RTX.

It is not the engine of a Jetson, nor of any GPU that TensorRT-RTX does not target: it shows that the graph parses, and
which layers become int8. The builder is native code that may crash, so it runs in a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from edgekd.errors import BadInputError, DeviceError, MissingExtraError

EXTRA = "trt-check"
SECONDS = 600


@dataclass(frozen=True)
class Layer:
    """One convolution or matrix product of the built engine, and the type of what it multiplies."""

    name: str
    kind: str
    dtype: str


@dataclass(frozen=True)
class Conformance:
    """How many of the graph's convolutions and matrix products run in int8."""

    int8_layers: int
    total_layers: int
    layers: tuple[Layer, ...]
    version: str
    compute_capability: str

    @property
    def label(self) -> str:
        """The finding in one line that claims no more than it is."""
        return (
            f"TensorRT-RTX {self.version} ahead-of-time check for {self.compute_capability}: not the Jetson engine; "
            f"{self.int8_layers} of {self.total_layers} convolutions/gemms run Int8"
        )


def conformance(model: bytes, compute_capability: str = "SM86", batch: int = 8) -> Conformance:
    """Parse and build a serialised ONNX model for batches 1 to `batch`.

    Raises BadInputError with the parser's words for a graph that it rejects, MissingExtraError without TensorRT-RTX,
    DeviceError when the builder crashes.
    """
    if find_spec("tensorrt_rtx") is None:
        raise MissingExtraError(EXTRA)
    command = [sys.executable, "-m", "edgekd.backends.tensorrt.ahead_of_time", compute_capability, str(batch)]
    answer = in_own_process(command, model)
    if "error" in answer:
        raise BadInputError(f"TensorRT-RTX: {answer['error']}")
    layers = tuple(Layer(**layer) for layer in answer["layers"])
    int8 = sum(layer.dtype == "Int8" for layer in layers)
    return Conformance(int8, answer["total"], layers, answer["version"], compute_capability)


def in_own_process(command: Sequence[str], payload: bytes) -> dict[str, Any]:
    """The JSON object on a child's last line; raise DeviceError when the child crashes or hangs."""
    try:
        child = subprocess.run(command, input=payload, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"TensorRT-RTX: no answer in {SECONDS} s") from error
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DeviceError(f"TensorRT-RTX: the builder died (exit {child.returncode}) {''.join(last)}".rstrip())
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer
