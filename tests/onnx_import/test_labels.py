"""Dictionaries of scores and labels as text, which no bundle holds: the scores stay, as rows."""

import numpy as np
import onnx

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
