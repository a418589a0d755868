"""Stages of a model compute what the whole does, and only those from the first change on are computed again."""

from itertools import product

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.quantization.reference import Reference
from edgekd.quantization.staged import Staged, stages

LENGTH = 5
SWITCHES = [f"on.{place}" for place in range(LENGTH)]
X = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)


def value(name: str, kind: int = TensorProto.FLOAT, *sizes: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, sizes)


def chain(skip: bool = False) -> onnx.ModelProto:
    """Convolutions with a switch behind each that doubles what it makes; the last reads the first, too."""
    random, nodes, weights, edge = np.random.default_rng(1), [], [], "x"
    for place, switch in enumerate(SWITCHES):
        weights.append(numpy_helper.from_array(random.normal(size=(3, 3, 3, 3)).astype(np.float32), f"w.{place}"))
        nodes.append(helper.make_node("Conv", [edge, f"w.{place}"], [f"c.{place}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c.{place}"], [f"r.{place}"]))
        nodes.append(helper.make_node("Add", [f"r.{place}", f"r.{place}"], [f"d.{place}"]))
        nodes.append(helper.make_node("Where", [switch, f"d.{place}", f"r.{place}"], [f"e.{place}"]))
        edge = f"e.{place}"
    nodes.append(helper.make_node("Add", [edge, "r.0" if skip else "e.0"], ["y"]))
    inputs = [value("x", TensorProto.FLOAT, "batch", 3, 8, 8), *(value(name, TensorProto.BOOL) for name in SWITCHES)]
    graph = helper.make_graph(nodes, "chain", inputs, [value("y", TensorProto.FLOAT, "batch", 3, 8, 8)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


HANDED = {name: value(name, TensorProto.FLOAT, "batch", 3, 8, 8) for name in (f"e.{place}" for place in range(LENGTH))}
OFF = dict.fromkeys(SWITCHES, np.array(False))


def test_stages_compute_what_the_whole_does() -> None:
    model = chain()
    staged, whole = Staged(model, HANDED, {"x": X}, OFF, 2), Reference(model, fused=True)
    for positions in product([False, True], repeat=LENGTH):
        on = {name: np.array(True) for name, position in zip(SWITCHES, positions, strict=True) if position}
        np.testing.assert_array_equal(staged.run(on)["y"], whole.run({"x": X} | OFF | on, 2)["y"])


def test_what_lies_before_a_change_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    staged, computed, run = Staged(chain(), HANDED, {"x": X}, OFF, 4), list[list[str]](), Reference.run

    def counted(self: Reference, inputs: dict[str, np.ndarray], batch: int | None = None) -> dict[str, np.ndarray]:
        computed.append(self.inputs)
        return run(self, inputs, batch)

    monkeypatch.setattr(Reference, "run", counted)
    staged.run({})
    assert not computed
    staged.run({SWITCHES[-1]: np.array(True)})
    assert len(computed) <= 2
    assert all("x" not in inputs for inputs in computed)


def test_a_model_is_cut_only_where_all_that_is_read_on_may_be_handed_on() -> None:
    assert len(list(stages(chain(), HANDED))) == LENGTH + 1
    assert len(list(stages(chain(skip=True), HANDED))) == 1
    assert len(list(stages(chain(), {name: value(name, TensorProto.FLOAT, 7) for name in HANDED}))) == 1
