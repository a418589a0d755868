"""The two files: what ncnn would read wrongly, or crash on, is never written."""

from collections import Counter

import numpy as np
import onnx
import pytest

from edgekd.backends.compiled import Precision
from edgekd.backends.ncnn.format import Layer, Network, plain, weights
from tests import factories
from tests.backends.ncnn.harness import Built, build, network
from tests.factories import Net

TAKE_INT8 = {"Convolution", "ConvolutionDepthWise", "InnerProduct", "Cast", "Split"}


@pytest.fixture(scope="module", params=sorted(factories.WHOLE_NETS))
def net(request: pytest.FixtureRequest) -> Built:
    return build(network(request.param))


def unet() -> onnx.ModelProto:
    """A pool, a transposed convolution, a resize and joins, all between quantisers."""
    net = Net(1, (8, 12, 12))
    x = net.relu(net.conv("input", 8, 8))
    low = net.relu(net.conv(net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), 8, 12))
    up = net.op("ConvTranspose", low, net.constant(net.rng.normal(0, 0.2, (12, 4, 2, 2))), strides=[2, 2])
    wide = net.op("Resize", low, "", net.constant([1, 1, 2, 2]), mode="nearest")
    y = net.conv(net.op("Concat", x, up, wide, axis=1), 24, 5, kernel=1)
    return factories.quantize(net.model(y), net.inputs(64), symmetric=True)


def test_every_blob_has_one_maker_and_one_reader(net: Built) -> None:
    """Two readers crash ncnn; one that is read twice is split."""
    made = Counter(blob for layer in net.layers for blob in layer.outputs)
    read = Counter(blob for layer in net.layers for blob in layer.inputs)
    assert set(made.values()) == set(read.values()) == {1}
    assert made.keys() - read.keys() == {"out0"}
    assert net.text.splitlines()[1] == f"{len(net.layers)} {len(made)}"


@pytest.mark.parametrize(("precision", "off"), [("int8", 71), ("float", 7), ("float16", 68)])
def test_every_layer_but_inputs_says_what_it_may_not_use(precision: Precision, off: int) -> None:
    """Bits: 1 and 2 are float16, 4 is bfloat16, 64 is winograd, which overflows in int8 and is coarse in float16."""
    plain, calibration = factories.dscnn(0)
    built = build(factories.quantize(plain, calibration, symmetric=True) if precision == "int8" else plain, precision)
    assert {layer.number(31) for layer in built.layers if layer.kind != "Input"} == {off}


@pytest.mark.parametrize("model", [unet(), network("resnet")], ids=["u-net", "resnet"])
def test_int8_blobs_reach_only_layers_that_take_them(model: onnx.ModelProto) -> None:
    """A pool or a join of int8 is silently wrong."""
    built = build(model)
    int8 = set[str]()
    for layer in built.layers:
        takes = layer.kind in TAKE_INT8
        assert takes or not int8 & set(layer.inputs), layer
        if layer.kind == "Quantize" or layer.number(8) > 100 or (layer.kind == "Split" and int8 & set(layer.inputs)):
            int8 |= set(layer.outputs)
    assert int8
    assert not {"Dequantize", "Requantize"} & set(built.kinds)


def test_layers_make_int8_where_only_a_quantiser_reads_them() -> None:
    """Of a residual network all but those that end in a sum, and the classifier, which ncnn cannot."""
    terms = [layer.number(8) for layer in build(network("resnet")).layers if layer.number(8)]
    assert (terms.count(102), terms.count(2)) == (6, 4)


def test_a_join_of_unlike_widths_is_right() -> None:
    """Which ncnn's int8 Concat is not."""
    model = unet()
    x = factories.inputs_for(model, 16)
    found, truth = build(model).run(x)["logits"], factories.reference(model, x)["logits"]
    step = float(np.ptp(truth)) / 255
    assert np.abs(found - truth).max() <= 2 * step  # two layers, whose roundings add up


def test_scales_are_reciprocals_in_the_order_in_which_ncnn_reads() -> None:
    """tag, weights, bias, a scale for each output, that of the input; padded to whole words."""
    net = Net(2, (5,))
    model = factories.quantize(net.model(net.gemm("input", 5, 3)), net.inputs(64), symmetric=True)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    stored = held["constant_0_q"]
    scales = held["constant_0_dq_d_scale"]
    bias = held["constant_1"]
    built = build(model)
    quantise = plain([1 / np.float64(held["input_q_q_scale"])])
    padded = stored.tobytes() + b"\0"
    content = quantise + weights(stored) + plain(bias) + plain(1 / scales.astype(np.float64)) + quantise
    assert weights(stored)[4:] == padded
    assert built.content[: len(content)] == content


def test_outputs_keep_their_order_and_may_be_inputs_and_twins() -> None:
    layers = [Layer("Input", "in0", [], ["in0"]), Layer("ReLU", "a", ["in0"], ["a"]), Layer("ReLU", "b", ["a"], ["b"])]
    text, _ = Network(71, [*layers, Layer("ReLU", "unread", ["a"], ["unread"])]).finish(["b", "in0", "a", "b"])
    lines = text.splitlines()[2:]
    assert lines == [
        "Input in0 0 1 in0",
        "Split in0:split 1 2 in0 in0:copy0 out1 31=71",
        "ReLU a 1 1 in0:copy0 a 31=71",
        "Split a:split 1 2 a a:copy0 out2 31=71",
        "ReLU b 1 1 a:copy0 b 31=71",
        "Split b:split 1 2 b out0 out3 31=71",
    ]


def test_names_are_without_blanks_and_twins() -> None:
    net = Net(0, (3, 4, 4))
    y = net.relu(net.conv("input", 3, 4))
    model = net.model(y)
    for node in model.graph.node:
        node.name = "same name=1,2"
    built = build(model, "float")
    names = [layer.name for layer in built.layers]
    assert len(set(names)) == len(names)
    assert built.run(net.inputs(1))["logits"].shape == (1, 4, 4, 4)
