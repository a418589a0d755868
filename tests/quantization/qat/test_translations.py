from torch import ops
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgekd.quantization.qat.translations import built_once


def test_the_table_is_built_once_and_what_an_export_adds_stays_its_own() -> None:
    original = ONNXRegistry.from_torchlib
    with built_once():
        one, other = (ONNXRegistry.from_torchlib(opset_version=18) for _ in range(2))
    assert ONNXRegistry.from_torchlib == original
    (kept,) = one.functions["aten::relu"]
    assert other.functions["aten::relu"] == [kept]
    one.register_op(ops.aten.relu.default, lambda x: x)
    assert len(one.functions["aten::relu"]) == 2
    assert other.functions["aten::relu"] == [kept]
    with built_once():
        assert ONNXRegistry.from_torchlib(opset_version=18).functions["aten::relu"] == [kept]
