import gc

from torch import ops
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgekd.quantization.qat.translations import built_once, hastened


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


def test_operators_are_listed_once_an_export_and_torch_is_left_as_it_was() -> None:
    listing, known = utils._materialize_cpp_cia_ops, utils._collect_all_valid_cia_ops()
    with hastened():
        assert utils._collect_all_valid_cia_ops() == known
        counted = utils._materialize_cpp_cia_ops.cache_info()  # type: ignore[attr-defined]
        assert (counted.misses, counted.hits > 5) == (1, True)
        assert not gc.isenabled()
    assert utils._materialize_cpp_cia_ops is listing
    assert gc.isenabled()
