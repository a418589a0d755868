"""The child process of `conformance`: ONNX on stdin, one JSON object as the last line on stdout."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import onnx
import tensorrt_rtx

LAYER = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>correlation|gemm), (?P<tensors>.*), Outputs: ")
DTYPE = re.compile(r"Datatype: (\w+)")
COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Log(tensorrt_rtx.ILogger):  # type: ignore[misc]
    """Keeps the builder's lines: with detailed profiling they list every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by the builder."""
        self.lines += message.splitlines()
        if severity <= tensorrt_rtx.ILogger.Severity.ERROR:
            self.errors.append(" ".join(message.split()))


def examine(model: bytes, compute_capability: str, batch: int) -> dict[str, Any]:
    """The version, the number of layers in the graph and the layers of the engine; or an `error`."""
    log = Log()
    builder = tensorrt_rtx.Builder(log)
    network = builder.create_network(0)
    parser = tensorrt_rtx.OnnxParser(network, log)
    if not parser.parse(model):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        return {"error": "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors) or "not an ONNX model"}
    configuration = configure(builder, network, compute_capability, batch)
    if configuration is None:
        return {"error": f"it does not build for {compute_capability}"}
    if builder.build_serialized_network(network, configuration) is None:
        return {"error": "; ".join(log.errors) or "the builder gave no reason"}
    total = sum(node.op_type in COUNTED for node in onnx.load_from_string(model).graph.node)
    return {"version": tensorrt_rtx.__version__, "total": total, "layers": list(layers(log.lines))}


def configure(builder: Any, network: Any, compute_capability: str, batch: int) -> Any:
    """A detailed configuration for one GPU architecture; None when the SDK does not target it."""
    capability = getattr(tensorrt_rtx.ComputeCapability, compute_capability, None)
    configuration = builder.create_builder_config()
    configuration.profiling_verbosity = tensorrt_rtx.ProfilingVerbosity.DETAILED
    configuration.num_compute_capabilities = 1
    if capability is None or not configuration.set_compute_capability(capability, 0):
        return None
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        smallest, largest = ([size if size >= 0 else free for size in tensor.shape] for free in (1, batch))
        profile.set_shape(tensor.name, smallest, largest, largest)
    configuration.add_optimization_profile(profile)
    return configuration


def layers(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Convolutions (`correlation`) and matrix products of a build log: Int8 when both operands are."""
    for match in filter(None, map(LAYER.match, lines)):
        operands = DTYPE.findall(match["tensors"])[:2]
        dtype = operands[0] if len(set(operands)) == 1 else "/".join(operands)
        yield {"name": match["name"], "kind": match["kind"], "dtype": dtype}


if __name__ == "__main__":
    print(json.dumps(examine(sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2]))))
