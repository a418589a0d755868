"""Calibration as recipes and scripts ask for it: its settings, and layers kept in float within a budget."""

import numpy as np
import pytest
from onnx import numpy_helper

from edgekd.backends.reference import Reference
from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split
from edgekd.pipeline.calibrated import calibrated, calibration_of, metric
from edgekd.quantization.calibrate import DEFAULT, Calibration
from edgekd.quantization.scheme import SCHEMES
from edgekd.recipe import Quantization
from tests.factories import Net

SCHEME = SCHEMES["int8-asymmetric"]


@pytest.fixture(scope="module")
def fragile():
    """A classifier whose second convolution int8 ruins: one weight dwarfs the others."""
    net = Net(0, (3, 12, 12))
    x = net.relu(net.conv("input", 3, 8, strides=[2, 2]))
    x = net.relu(net.conv(x, 8, 8))
    x = net.op("Reshape", net.op("GlobalAveragePool", x), net.constant([-1, 8], np.int64))
    model = net.model(net.gemm(x, 8, 4))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    first, second = (constants[node.input[1]] for node in model.graph.node if node.op_type == "Conv")
    for tensor, place, factor in ((first, np.s_[0], 1e-4), (second, np.s_[:, 0], 1e4)):
        values = numpy_helper.to_array(tensor).copy()
        values[place] *= factor
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    inputs = net.inputs(128)
    split = Split(inputs, Reference(model).run({"input": inputs})["logits"].argmax(1))
    data = Dataset("own", split, split, split, tuple("abcd"), Preprocessing())
    return model, [{"input": inputs}], data


def ask(fragile, **settings):
    return calibrated(*fragile[:1], SCHEME, *fragile[1:], Quantization(epochs=0, **settings))


def test_within_a_budget_only_what_hurts_stays_in_float(fragile):
    model, _, data = fragile
    assert metric(model, data, data.val) == 1  # the labels are its own answers
    assert metric(ask(fragile).model, data, data.val) < 0.98
    mixed = ask(fragile, mixed=True, max_drop=0.02)
    assert mixed.met
    assert len(mixed.kept) == 1
    assert metric(mixed.model, data, data.val) >= 0.98
    assert ask(fragile, mixed=True, max_drop=1.0).kept == ()


def test_settings_name_only_what_differs_from_the_default():
    assert calibration_of(Quantization(epochs=0)) == DEFAULT
    asked = Quantization(epochs=0, ranges="percentile", equalize=True, correct_bias=True)
    assert calibration_of(asked) == Calibration("percentile", equalize=True, correct_bias=True)
