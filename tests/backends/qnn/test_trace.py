"""What is read of the graphs that the HTP's compiler writes, and what it is asked to write; no emulator runs."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.backends.qnn.runtime import Qnn, qnn_operations

FLOAT16, UINT8 = 534, 1032
OPTIONS = {"htp_arch": "75", "soc_model": "57"}
NODES = [
    ("in", "Quantize", UINT8),
    ("a", "Conv2d", UINT8),
    ("b", "Conv2d", FLOAT16),
    ("c", "MatMul", FLOAT16),
    ("d", "FullyConnected", FLOAT16),
    ("e", "ElementWiseAdd", FLOAT16),
    ("out", "Dequantize", FLOAT16),
]
installed = pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="pip install 'edgekd[qnn]'")


def write_trace(folder: Path) -> None:
    graph = {
        "nodes": {name: {"type": kind, "output_names": [f"{name}_out"]} for name, kind, _ in NODES},
        "tensors": {f"{name}_out": {"data_type": kind} for name, _, kind in NODES},
    }
    (folder / "QNN_1.json").write_text(json.dumps({"graph": graph}))
    for other in ("qnn_op_trace.json", "QNN_1_tensor_log.json"):
        (folder / other).write_text("{}")


class Traced(Qnn):
    """Its compiler has written a graph already."""

    model = Path("model.onnx")

    def prepare(self, path: Path, traced: Path | None = None, context: Path | None = None) -> Any:
        assert traced is not None
        write_trace(traced)


def test_borders_of_a_graph_compute_nothing(tmp_path: Path) -> None:
    write_trace(tmp_path)
    assert list(qnn_operations(tmp_path)) == [(name, kind, {types}) for name, kind, types in NODES[1:-1]]


@installed
def test_layers_that_write_integers_are_int8() -> None:
    counted = Traced(OPTIONS).operator_coverage()
    assert (counted["int8"], counted["total"]) == (1, 4)
    assert counted["ops"] == {"Conv2d": 2, "ElementWiseAdd": 1, "FullyConnected": 1, "MatMul": 1}


@installed
@pytest.mark.parametrize("traced", [True, False])
def test_the_compiler_is_asked_for_its_graphs_only_where_they_are_read(traced: bool, tmp_path: Path) -> None:
    told: dict[str, str] = {}
    session = SimpleNamespace(
        add_session_config_entry=lambda key, value: None,
        add_provider_for_devices=lambda devices, settings: told.update(settings),
    )
    runtime = Qnn(OPTIONS)
    device = SimpleNamespace(ep_name=runtime.provider.get_ep_name())
    runtime.module = SimpleNamespace(
        SessionOptions=lambda: session,
        InferenceSession=lambda path, options: path,
        get_ep_devices=lambda: [device],
    )
    assert runtime.prepare(tmp_path / "model.onnx", tmp_path if traced else None) == str(tmp_path / "model.onnx")
    assert (told["htp_arch"], told["soc_model"]) == ("75", "57")
    written = {key: value for key, value in told.items() if value == str(tmp_path)}
    assert len(written) == (2 if traced else 0)
    assert ("dump_json_qnn_graph" in told) == traced
