"""Dictionaries of scores and labels as text, which no bundle holds: the scores stay, as rows."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.uniform import uniform
from edgekd.quantization.reference import Reference
from tests.onnx_import.trees import tree
from tests.quantization.onnx_models import random


def test_of_a_classifier_with_labels_as_text_the_scores_are_left_as_rows(tmp_path):
    onnx.save(tree(text=True), tmp_path / "m.onnx")
    plain, x = uniform(read_model(tmp_path / "m.onnx"), {}), {"x": random(5, 3)}
    assert plain.notes == ("output 'label' is left out: it is text, which no bundle holds",)
    found, wanted = Reference(plain.model).run(x), Reference(tree()).run(x)
    assert list(found) == ["rows"]
    np.testing.assert_array_equal(found["rows"], wanted["scores"])


def test_labels_that_are_numbers_stay(tmp_path):
    onnx.save(tree(), tmp_path / "m.onnx")
    plain = uniform(read_model(tmp_path / "m.onnx"), {})
    assert (plain.notes, list(Reference(plain.model).run({"x": random(2, 3)}))) == ((), ["label", "scores"])


@pytest.mark.parametrize("text", [False, True])
def test_scores_that_are_an_output_themselves_stay_one(tmp_path, text: bool):
    net = tree(text=text)
    del net.graph.output[:-1]
    net.graph.node.append(helper.make_node("Identity", ["scores"], ["again"]))
    names = [name for name in ("scores", "again") if name != net.graph.output[0].name]
    net.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in names)
    onnx.save(net, tmp_path / "m.onnx")
    x = {"x": random(5, 3)}
    found, wanted = Reference(read_model(tmp_path / "m.onnx")).run(x), Reference(tree()).run(x)["scores"]
    assert set(found) == {"scores", "again"} | ({"rows"} if text else set())
    for rows in found.values():
        np.testing.assert_array_equal(rows, wanted)
