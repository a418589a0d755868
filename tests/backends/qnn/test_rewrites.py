"""What the HTP's compiler is given computes what it was made of, bit for bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.onnx_file import tensor_specs
from edgekd.backends.qnn.placement import read_places
from edgekd.backends.qnn.rewrites import integer_borders, part_activations
from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from tests.factories import Array, Net


def network(scheme: str = "htp-w8a8") -> tuple[onnx.ModelProto, Array]:
    """Parts of a Concat on one grid: behind a ReLU, behind a Clip, and with values below zero."""
    net = Net(0, (4, 6, 6))
    clip = net.op("Clip", net.conv("input", 4, 4), net.constant(0.0), net.constant(12.0))
    parts = [net.relu(net.conv("input", 4, 4)), net.conv("input", 4, 4), clip]
    plain, x = net.model(net.relu(net.conv(net.op("Concat", *parts, axis=1), 12, 4))), net.inputs(8)
    return calibrate(plain, find_scheme(scheme), [{"input": x}]), x


@pytest.mark.parametrize("scheme", ["htp-w8a8", "htp-w8a16"])
def test_parted_activations_change_no_value(scheme: str) -> None:
    model, x = network(scheme)
    parted = part_activations(model)
    added = len(parted.graph.node) - len(model.graph.node)
    assert added == 4, "two of the activations do not vanish, each gets Q and DQ; the last one does"
    np.testing.assert_array_equal(*(Reference(each).run({"input": x})["logits"] for each in (model, parted)))


@pytest.mark.parametrize(
    ("activation", "zero_point", "vanishes"),
    [
        ("Relu(c)", 0, True),
        ("Relu(c)", 1, False),  # -1 is stored, which a ReLU stops
        ("Clip(c, nought, most)", 0, True),
        ("Clip(c, nought, most)", 1, False),
        ("Clip(c, nought, less)", 0, False),
        ("Clip(c, one, most)", 0, False),
        ("Clip(c, , most)", 200, True),
        ("Clip(c, , less)", 0, False),
        ("Clip(c, nought)", 0, True),
        ("Clip(c, nought)", 1, False),
        ("Clip(c)", 200, True),
    ],
)
def test_an_activation_vanishes_where_all_that_is_stored_passes_it(
    activation: str, zero_point: int, vanishes: bool
) -> None:
    """Steps of one: what is stored reaches from minus the zero point to 255 less it."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        net (float[n, 1] input) => (float[n, 1] y)
        <float s = {{1}}, uint8 z = {{{zero_point}}}, float nought = {{0}}, float one = {{1}}, float most = {{255}},
         float less = {{254}}> {{
            c = Exp(input)
            a = {activation}
            q = QuantizeLinear(a, s, z)
            y = DequantizeLinear(q, s, z)
        }}"""
    )
    added = len(part_activations(model).graph.node) - len(model.graph.node)
    assert added == (0 if vanishes else 2)


@pytest.mark.parametrize("scheme", ["htp-w8a8", "htp-w8a16"])
def test_integers_at_the_borders_stand_for_the_same_values(scheme: str) -> None:
    model, x = network(scheme)
    changed, borders = integer_borders(model)
    specs = [spec.model_copy(update=borders[spec.name]._asdict()) for specs in tensor_specs(changed) for spec in specs]
    assert {spec.dtype for spec in specs} == {find_scheme(scheme).activation}
    stored = Reference(changed).run({"input": to_bundle(specs[0], x)})["logits"]
    np.testing.assert_array_equal(from_bundle(specs[1], stored), Reference(model).run({"input": x})["logits"])


def test_what_is_given_out_as_integers_already_stays_as_it_is() -> None:
    """And of two that are dequantised of one tensor the first alone becomes integers."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        net (float[n, 1] input) => (uint8[n, 1] q, float[n, 1] y, float[n, 1] first, float[n, 1] second)
        <float s = {1}, uint8 z = {0}> {
            c = Exp(input)
            q = QuantizeLinear(c, s, z)
            y = DequantizeLinear(q, s, z)
            d = QuantizeLinear(y, s, z)
            first = DequantizeLinear(d, s, z)
            second = DequantizeLinear(d, s, z)
        }"""
    )
    changed, borders = integer_borders(model)
    assert list(borders) == ["first"]
    assert [value.type.tensor_type.elem_type for value in changed.graph.output] == [2, 1, 2, 1]


def with_float_borders() -> tuple[onnx.ModelProto, Array]:
    """Outputs: of a layer, what a layer reads as well, the same dequantised apart, weights, and the input's ReLU."""
    net = Net(0, (4, 6, 6))
    inner = net.relu(net.conv("input", 4, 4))
    plain, x = net.model(inner, net.conv(inner, 4, 4), names=("inner", "outer")), net.inputs(8)
    model = calibrate(plain, find_scheme("htp-w8a8"), [{"input": x}])
    makers = {node.output[0]: node for node in model.graph.node}
    weight = next(makers[node.input[1]] for node in model.graph.node if node.op_type == "Conv")
    for name, dequantize in (("twin", makers["inner"]), ("weight", weight)):
        model.graph.node.add().CopyFrom(dequantize)
        model.graph.node[-1].name, model.graph.node[-1].output[0] = name, name
    model.graph.node.append(onnx.helper.make_node("Relu", ["input"], ["passed"], name="passed"))
    for name in ("twin", "weight", "passed"):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return model, x


def test_only_what_is_quantised_at_a_border_becomes_integers() -> None:
    model, x = with_float_borders()
    changed, borders = integer_borders(model)
    expected, found = (Reference(each).run({"input": x}) for each in (model, changed))
    assert borders.keys() == {"outer", "twin"}, "two read the input, and a layer reads `inner`"
    for name, grid in borders.items():
        assert found[name].dtype == np.uint8
        found[name] = (found[name].astype(np.float32) - np.float32(grid.zero_point)) * np.float32(grid.scale)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_session_that_left_all_to_the_cpu_has_nothing_on_the_npu(tmp_path: Path) -> None:
    """A wrong architecture, or a free batch, leaves no trace of any graph."""
    model, _ = network()
    found = read_places(model, tmp_path)
    assert (found.islands, found.share) == (0, 0.0)
