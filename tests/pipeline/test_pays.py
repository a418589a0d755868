"""Whether int8 is said to pay, by what was timed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from edgekd.pipeline import pays
from edgekd.target import Target


def row(p50: float, **changes: Any) -> dict[str, Any]:
    return {"p50": p50, "low": 0.99 * p50, "high": 1.01 * p50, "replicates": 5, "flags": []} | changes


def relu() -> onnx.ModelProto:
    x, y = (make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y"))
    return make_model(
        make_graph([make_node("Relu", ["x"], ["y"])], "g", [x], [y]), opset_imports=[make_opsetid("", 17)]
    )


@pytest.mark.parametrize(
    ("ours", "floats", "said"),
    [
        (row(1.0), row(2.0), True),
        (row(2.0), row(1.0), False),
        (row(1.0), row(1.01), None),  # the intervals meet
        (row(1.0, replicates=3), row(2.0, replicates=3), None),
        (row(1.0, flags=["emulated"]), row(2.0), None),
    ],
)
def test_a_difference_is_claimed_by_the_same_rule_as_everywhere(
    monkeypatch: pytest.MonkeyPatch, ours: dict[str, Any], floats: dict[str, Any], said: bool | None
) -> None:
    asked: dict[str, Any] = {}

    def timed(_: list[Path], **options: Any) -> list[dict[str, Any]]:
        asked.update(options)
        return [ours, floats]

    monkeypatch.setattr(pays, "bench_bundles", timed)
    target = Target(name="t", title="t", backend="onnxruntime", scheme="int8-asymmetric")
    found = pays.speed_here(Path("bundle"), relu(), target, {"x": np.ones((2, 4), np.float32)})
    assert found is not None
    assert found.pays is said
    assert asked["replicates"] >= 5  # fewer claim nothing
