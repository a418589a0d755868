"""What is asked of TensorRT's builder and read of its log; nothing is built."""

from types import SimpleNamespace
from typing import Any

import pytest

trt = pytest.importorskip("tensorrt_rtx", reason="needs edgekd[trt-check]")
from edgekd.backends.tensorrt.ahead_of_time import configure, layers  # noqa: E402

INT8, FLOAT = "[Location: 0, Dimensions: [1], Datatype: Int8]", "[Location: 0, Dimensions: [1], Datatype: Float]"


def line(name: str, kind: str, *operands: str, outputs: str = FLOAT) -> str:
    return f"Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(operands)} ], Outputs: [ {outputs} ]"


@pytest.mark.parametrize(
    ("operands", "dtype"),
    [
        ([INT8, INT8], "Int8"),
        ([INT8, INT8, FLOAT], "Int8"),  # a bias
        ([FLOAT, FLOAT], "Float"),
        ([INT8, FLOAT], "Int8/Float"),
        ([FLOAT, INT8, INT8], "Float/Int8"),
    ],
)
@pytest.mark.parametrize("kind", ["correlation", "gemm"])
def test_a_layer_is_int8_where_both_operands_are(kind: str, operands: list[str], dtype: str) -> None:
    (found,) = layers([line("a, b", kind, *operands)])
    assert found == {"name": "a, b", "kind": kind, "dtype": dtype}


def test_of_a_log_only_lines_of_layers_count() -> None:
    log = [
        "",
        "Engine:",
        line("p", "pooling", INT8),
        line("c", "correlation", INT8, INT8),
        f" {line('d', 'gemm', INT8)}",
    ]
    assert [layer["name"] for layer in layers(log)] == ["c"]


class Builder:
    """Takes what a builder is told."""

    def __init__(self, takes: bool) -> None:
        self.takes, self.asked, self.shapes, self.profiles = takes, list[Any](), list[Any](), list[Any]()

    def create_builder_config(self) -> Any:
        def capability(value: Any, index: int) -> bool:
            self.asked.append((value, index))
            return self.takes

        self.configuration = SimpleNamespace(
            set_compute_capability=capability, add_optimization_profile=self.profiles.append
        )
        return self.configuration

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda *shape: self.shapes.append(shape))


NETWORK = SimpleNamespace(
    num_inputs=2,
    get_input=lambda index: SimpleNamespace(name=f"in{index}", shape=[(-1, 3, 8, -1), (4, 0)][index]),
)


def test_a_graph_is_built_for_one_gpu_and_batches_from_one() -> None:
    builder = Builder(takes=True)
    found = configure(builder, NETWORK, "SM86", 8)
    assert found is builder.configuration
    assert (found.num_compute_capabilities, builder.asked) == (1, [(trt.ComputeCapability.SM86, 0)])
    assert found.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert builder.shapes == [("in0", [1, 3, 8, 1], [8, 3, 8, 8], [8, 3, 8, 8]), ("in1", [4, 0], [4, 0], [4, 0])]
    assert len(builder.profiles) == 1


@pytest.mark.parametrize(("capability", "takes"), [("SM0", True), ("SM86", False)])
def test_a_gpu_that_is_not_built_for_has_no_configuration(capability: str, takes: bool) -> None:
    assert configure(Builder(takes), NETWORK, capability, 8) is None
