"""Models that other tools quantised: every scale is kept bit by bit, or they are refused with what derives it anew."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph
from edgekd.onnx_import.inputs import sizes_of
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.quantization.qdq import scheme_of
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import SCHEMES
from tests.factories import Net, quantize
from tests.quantization.onnx_models import kinds

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
node = helper.make_node


def net() -> Net:
    return Net(0, (3, 8, 8))


def float_model() -> onnx.ModelProto:
    made = net()
    x = made.op("MaxPool", made.relu(made.conv("input", 3, 8)), kernel_shape=[2, 2], strides=[2, 2])
    x = made.relu(made.op("Add", made.conv(x, 8, 8), x))
    x = made.op("Flatten", made.op("GlobalAveragePool", x), axis=1)
    return made.model(made.gemm(x, 8, 5))


def inputs() -> dict[str, np.ndarray]:
    return {"input": net().inputs(64)}


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.parts = iter(np.split(inputs()["input"], 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {"input": part}


def ort(folder, form=QuantFormat.QDQ, activation="QUInt8", weight="QInt8", per_channel=True, **extra):
    """What `quantize_static` writes."""
    onnx.save(float_model(), folder / "float.onnx")
    logging.disable(logging.WARNING)
    quantize_static(
        folder / "float.onnx", folder / "q.onnx", Reader(), quant_format=form, per_channel=per_channel,
        activation_type=QuantType[activation], weight_type=QuantType[weight], extra_options=extra,
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    return onnx.load(folder / "q.onnx")


def scales(model: onnx.ModelProto) -> list[bytes]:
    """Those of all activations, bit by bit."""
    graph = Graph(model)
    found = [entry for entry in graph.nodes if entry.op_type == "QuantizeLinear"]
    return sorted(graph.constants[entry.input[1]].tobytes() for entry in found if entry.input[0] not in graph.constants)


def imported(model, scheme=ASYMMETRIC, steps=0.0):
    before = model.SerializeToString()
    found, data = import_quantized(model, scheme, inputs(), {}, 64)
    assert model.SerializeToString() == before
    onnx.checker.check_model(found, full_check=True)
    assert scheme_of(found) is scheme
    wanted, made = Reference(model).run(data), Reference(found).run(data)
    scale = Graph(found).constants[Graph(found).producer("logits").input[1]]
    assert np.abs(wanted["logits"] - made["logits"]).max() <= steps * scale * 1.001
    assert set(scales(model)) <= set(scales(found))
    _assert_words(found, scheme)
    return found


def _assert_words(model, scheme) -> None:
    """Standard operators, activations and weights as the scheme stores them, int32 or float biases."""
    graph = Graph(model)
    assert not {entry.domain for entry in graph.nodes} - {""}
    for entry in graph.nodes:
        if entry.op_type == "QuantizeLinear":
            assert graph.constants[entry.input[2]].dtype == scheme.activation
        if entry.op_type in {"Conv", "Gemm"}:
            weight, bias = (graph.producer(name) for name in entry.input[1:3])
            assert graph.constants[weight.input[0]].dtype == np.int8
            assert not graph.constants[weight.input[2]].any()
            assert (bias is None) == (scheme.bias == "float")
            if bias is not None:
                scale = graph.constants[graph.producer(entry.input[0]).input[1]]
                unit, found = scale * graph.constants[weight.input[1]], graph.constants[bias.input[1]]
                np.testing.assert_array_equal(found, np.broadcast_to(unit, found.shape))


SETTINGS = [
    {},
    {"per_channel": False},
    {"activation": "QInt8"},
    {"activation": "QInt8", "per_channel": False},
    {"weight": "QUInt8", "per_channel": False, "WeightSymmetric": True},
    {"AddQDQPairToWeight": True},
    {"DedicatedQDQPair": True, "QDQKeepRemovableActivations": True},
    {"ActivationSymmetric": True, "activation": "QInt8", "UseQDQContribOps": True},
]


@pytest.mark.parametrize("settings", SETTINGS[:-1], ids=str)
def test_every_bit_of_onnxruntimes_qdq_is_kept(tmp_path, settings):
    """Shifting by 128 and writing zero points out changes no number: outputs are equal."""
    imported(ort(tmp_path, **settings))


def test_what_the_scheme_says_already_is_left_alone(tmp_path):
    model = ort(tmp_path)
    assert import_quantized(model, ASYMMETRIC, inputs(), {}, 64)[0] is model


@pytest.mark.parametrize("settings", [*SETTINGS[:5], {"QuantizeBias": False}], ids=str)
def test_integer_operators_become_qdq(tmp_path, settings):
    """Their kernels round the sum once more than Q does: a step at most."""
    model = ort(tmp_path, QuantFormat.QOperator, **settings)
    assert {"QLinearConv", "QGemm"} & set(kinds(model))
    assert holds_integers(model)
    found = imported(model, steps=1)
    assert kinds(found).count("Conv") == 2
    assert "MaxPool" in kinds(found)


def test_float_biases_are_rounded_to_what_the_kernels_add(tmp_path):
    """Half a unit of the sum moves an output by a step at most, where it was close to the next."""
    imported(ort(tmp_path, QuantizeBias=False), steps=1)


def test_symmetric_activations_are_the_symmetric_scheme(tmp_path):
    imported(ort(tmp_path, activation="QInt8", ActivationSymmetric=True), SYMMETRIC)
    imported(ort(tmp_path, activation="QInt8", ActivationSymmetric=True, UseQDQContribOps=True), SYMMETRIC)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": "QUInt8", "per_channel": False}, "weights with a zero point: quantise them symmetrically"),
        ({"activation": "QInt16"}, "quantises to int16; the schemes have 8 bits"),
        ({"activation": "QUInt16", "UseQDQContribOps": True}, "quantises to uint16"),
    ],
)
def test_what_no_exact_rewriting_brings_here_is_refused(tmp_path, settings, words):
    with pytest.raises(BadInputError, match=words) as caught:
        import_quantized(ort(tmp_path, **settings), ASYMMETRIC, inputs(), {}, 64)
    assert "export its float original with --calibration" in str(caught.value)


def test_scales_found_at_run_time_are_refused(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(float_model(), tmp_path / "float.onnx")
    logging.disable(logging.WARNING)
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "q.onnx")
    logging.disable(logging.NOTSET)
    model = onnx.load(tmp_path / "q.onnx")
    assert holds_integers(model)
    with pytest.raises(BadInputError, match=r"finds its scales at run time.*float original"):
        import_quantized(model, ASYMMETRIC, inputs(), {}, 64)


def qdq() -> onnx.ModelProto:
    return quantize(float_model(), inputs()["input"])


def quantisers(model, kind="QuantizeLinear"):
    return [entry for entry in model.graph.node if entry.op_type == kind]


def test_the_other_scheme_is_refused_with_advice():
    with pytest.raises(BadInputError, match=r"quantised for int8-asymmetric, the target needs int8-symmetric.*recipe"):
        import_quantized(qdq(), SYMMETRIC, inputs(), {}, 64)


def test_a_missing_zero_point_is_zero():
    model = qdq()
    values = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    for entry in model.graph.node:
        if entry.op_type in {"QuantizeLinear", "DequantizeLinear"} and not values[entry.input[2]].any():
            del entry.input[2]
    assert len({len(entry.input) for entry in quantisers(model)}) == 2
    found = imported(model)
    assert {len(entry.input) for entry in (*quantisers(found), *quantisers(found, "DequantizeLinear"))} == {3}


@pytest.mark.parametrize(("low", "high", "clips"), [(0, 255, 0), (3, 250, 1), (None, 200, 1), (128, None, 1)])
def test_a_clip_of_integers_moves_before_the_quantiser(low, high, clips):
    """As PT2E writes narrow ranges; rounding and clipping commute, so that outputs are equal."""
    model = qdq()
    first = quantisers(model)[1]
    bounds = []
    for name, bound in (("low", low), ("high", high)):
        bounds.append("" if bound is None else name)
        if bound is not None:
            model.graph.initializer.append(numpy_helper.from_array(np.array(bound, np.uint8), name))
    made = first.output[0]
    first.output[0] = "stored"
    place = list(model.graph.node).index(first) + 1
    model.graph.node.insert(place, node("Clip", ["stored", *bounds], [made], name="clip"))
    found = imported(model)
    assert kinds(found).count("Clip") == clips


def test_a_weight_that_is_quantised_in_the_graph_is_stored():
    """`Q → Clip → DQ` over float weights, as exporters leave what nobody folded."""
    model = qdq()
    graph = Graph(model)
    conv = next(entry for entry in graph.nodes if entry.op_type == "Conv")
    dequantize = graph.producer(conv.input[1])
    stored, scale, _ = (graph.constants[name] for name in dequantize.input)
    unfolded = graph.add_constant("unfolded", (stored * scale.reshape(-1, 1, 1, 1)).astype(np.float32))
    graph.add("QuantizeLinear", [unfolded, *dequantize.input[1:]], "wq", axis=0)
    bounds = [graph.add_constant(f"b{bound}", np.array(bound, np.int8)) for bound in (-127, 127)]
    graph.add("Clip", ["wq", *bounds], "wc")
    graph.set_input(dequantize, 0, "wc")
    found = imported(graph.model())
    assert not {entry.name for entry in quantisers(found)} & {"wq_QuantizeLinear"}
    assert "Clip" not in kinds(found)


def test_a_built_in_batch_is_freed_without_touching_a_scale():
    model = qdq()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    found, _ = import_quantized(model, ASYMMETRIC, inputs(), {}, 64)
    assert sizes_of(found.graph.input[0]) == [None, 3, 8, 8]
    _, made_up = import_quantized(model, ASYMMETRIC, None, {}, 64)
    assert made_up["input"].shape == (64, 3, 8, 8)
    assert scales(found) == scales(model)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(value):
    model = qdq()
    name = quantisers(model)[0].input[1]
    scale = next(c for c in model.graph.initializer if c.name == name)
    scale.CopyFrom(numpy_helper.from_array(np.array(value, np.float32), name))
    with pytest.raises(BadInputError, match="a scale that is not a positive number"):
        import_quantized(model, ASYMMETRIC, inputs(), {}, 64)


def test_scales_of_another_count_than_channels_are_refused():
    """Found by fuzzing: three scales for four channels raised a ValueError."""
    model = qdq()
    graph = Graph(model)
    conv = next(entry for entry in graph.nodes if entry.op_type == "Conv")
    dequantize = graph.producer(conv.input[2])
    for index in (1, 2):
        graph.constants[dequantize.input[index]] = graph.constants[dequantize.input[index]][:-1]
    with pytest.raises(BadInputError, match="scales and zero points that do not fit its channels"):
        import_quantized(graph.model(), ASYMMETRIC, inputs(), {}, 64)


def test_a_graph_whose_scale_is_computed_is_refused():
    model = qdq()
    model.graph.input.append(helper.make_tensor_value_info(quantisers(model)[0].input[1], TensorProto.FLOAT, []))
    kept = [c for c in model.graph.initializer if c.name != quantisers(model)[0].input[1]]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    with pytest.raises(BadInputError, match="finds its scale at run time"):
        import_quantized(model, ASYMMETRIC, inputs(), {}, 64)


@pytest.mark.parametrize("moves", [("Flatten",), ("Transpose", "Flatten")])
def test_what_only_moves_before_a_layer_is_quantised_as_it_was(moves):
    """NNCF leaves out a quantiser behind a Flatten, which would round nothing; a runtime computes in float then."""
    net, edge = Net(0, (4, 3, 3)), "input"
    constants = {"s": np.float32(0.02), "z": np.array(120, np.uint8)}
    named = [net.constant(value, value.dtype) for value in constants.values()]
    edge = net.op("DequantizeLinear", net.op("QuantizeLinear", edge, *named), *named)
    for kind in moves:
        edge = net.op(kind, edge, **({"perm": [0, 2, 3, 1]} if kind == "Transpose" else {"axis": 1}))
    weight = net.constant(np.random.default_rng(0).integers(-127, 127, (36, 5)), np.int8)
    scale, zero = net.constant(0.01, np.float32), net.constant(0, np.int8)
    made = net.model(net.op("MatMul", edge, net.op("DequantizeLinear", weight, scale, zero)))
    given = {"input": np.random.default_rng(1).normal(0, 1, (16, 4, 3, 3)).astype(np.float32)}
    found, _ = import_quantized(made, ASYMMETRIC, given, {}, 16)
    assert kinds(found).count("QuantizeLinear") == 1 + len(moves)
    assert scales(found)[: 1 + len(moves)] == [np.float32(0.02).tobytes()] * (1 + len(moves))
    (ours,), (theirs,) = (Reference(model).run(given).values() for model in (found, made))
    np.testing.assert_array_equal(ours, theirs)
