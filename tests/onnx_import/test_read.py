"""Files that are no model, or not a safe one: refused in one line that says what to do."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.read import read_model
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node


def net(opset: int = 18) -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["c"], name="stem"), node("Relu", ["c"], ["y"])], {"w": random(4, 3, 3, 3)},
        opset=opset,
    )  # fmt: skip


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("opset", range(11, 25))
def test_every_opset_in_use_is_read(tmp_path, opset):
    found = read_model(saved(tmp_path, net(opset)))
    assert kinds(found) == ["Conv", "Relu"]


@pytest.mark.parametrize("opset", [6, 25])
def test_other_opsets_are_refused(tmp_path, opset):
    assert "export again with one from 7 to 24" in refusal(saved(tmp_path, net(opset)))


def test_what_is_no_model(tmp_path):
    assert refusal(tmp_path / "nowhere.onnx") == "no such file"
    assert refusal(tmp_path) == "a folder, not a file"
    for content in (b"", b"\x00" * 100, b"model", os.urandom(500)):
        (tmp_path / "m.onnx").write_bytes(content)
        refusal(tmp_path / "m.onnx")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    content = net().SerializeToString()
    for end in range(0, len(content), 7):
        (tmp_path / "m.onnx").write_bytes(content[:end])
        refusal(tmp_path / "m.onnx")


def broken(**changes) -> onnx.ModelProto:
    found = net()
    for field, value in changes.items():
        match field:
            case "operand":
                found.graph.node[0].input[0] = value
            case "weight":
                found.graph.node[0].input[1] = value
            case "dims":
                found.graph.initializer[0].dims[0] = value
            case "kind":
                found.graph.initializer[0].data_type = value
            case "op":
                found.graph.node[1].op_type = value
    return found


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (broken(operand="y"), "cycle through 'stem'"),  # a cycle
        (broken(weight="nowhere"), "'stem' reads 'nowhere', which the ONNX graph does not have"),
        (broken(dims=5), "not a valid ONNX model"),
        (broken(dims=-4), "tensor 'w' has the shape (-4, 3, 3, 3)"),
        (broken(kind=TensorProto.DOUBLE), "not a valid ONNX model"),
        (broken(kind=99), "not a valid ONNX model"),
        (broken(op="Bogus"), "Bogus"),
    ],
)
def test_a_broken_graph_is_one_line(tmp_path, made, words):
    assert words in refusal(saved(tmp_path, made))


def test_initialisers_that_are_inputs_too_are_constants(tmp_path):
    made = net(11)
    made.ir_version = 3
    made.graph.input.add().CopyFrom(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]))
    assert read_model(saved(tmp_path, made)).ir_version == 4


def test_functions_are_inlined(tmp_path):
    made = net()
    opset = [helper.make_opsetid("", 18)]
    twice = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], opset)
    made.functions.append(twice)
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.graph.node[1].CopyFrom(node("Twice", ["c"], ["y"], domain="own"))
    assert kinds(read_model(saved(tmp_path, made))) == ["Conv", "Add"]


@pytest.mark.parametrize("opset", [18, 20])
def test_a_group_norm_that_scales_groups_is_what_onnxruntime_runs(tmp_path, opset):
    """onnx's checker calls it deprecated, and ONNX Runtime runs it by its definition."""
    last = node("GroupNormalization", ["x", "scale", "shift"], ["y"], num_groups=2, epsilon=0.1, name="norm")
    made = model([last], {"scale": random(2), "shift": random(2, seed=1)}, ("N", 6, 4, 4), opset=opset)
    found, x = read_model(saved(tmp_path, made)), {"x": random(3, 6, 4, 4, seed=2)}
    assert kinds(found) == ["Shape", "Reshape", "InstanceNormalization", "Reshape"]
    (wanted,), (answer,) = (Reference(each).run(x).values() for each in (made, found))
    np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)  # sums in another order


def external(folder: Path, **entries: str) -> Path:
    """A model whose weight lies in weights.bin, as `entries` describe it."""
    made = net()
    weight = made.graph.initializer[0]
    (folder / "weights.bin").write_bytes(b"\0" * 8 + weight.raw_data)
    described = {"location": "weights.bin", "offset": "8", "length": str(len(weight.raw_data)), **entries}
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in described.items():
        weight.external_data.add(key=key, value=value)
    return saved(folder, made)


def test_external_data_are_read_and_stay_as_they_are(tmp_path):
    path = external(tmp_path)
    before = path.read_bytes(), (tmp_path / "weights.bin").read_bytes()
    weight = read_model(path).graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(weight), random(4, 3, 3, 3))
    assert not weight.external_data
    assert (path.read_bytes(), (tmp_path / "weights.bin").read_bytes()) == before


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../weights.bin"}, "leave the model's folder"),
        ({"location": "/etc/passwd"}, "leave the model's folder"),
        ({"location": "link"}, "leave the model's folder"),
        ({"location": "..\\weights.bin"}, "leave the model's folder"),
        ({"location": ""}, "leave the model's folder"),
        ({"location": "gone.bin"}, "are missing: put the file beside the model"),
        ({"offset": "9"}, "truncated"),
        ({"length": "100000"}, "truncated"),
        ({"offset": "-1"}, "truncated"),
        ({"offset": "some"}, "not a valid ONNX model"),
        ({"length": "4"}, "not a valid ONNX model"),
        ({"length": str(2**31)}, "truncated"),
    ],
)
def test_external_data_that_cannot_be_trusted_are_refused(tmp_path, entries, words):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"\0" * 1000)
    (folder / "link").symlink_to(tmp_path / "weights.bin")
    assert words in refusal(external(folder, **entries))


def test_more_than_two_gigabytes_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(2**31)  # sparse: it takes no space
    assert "2.0 GB of model, and ONNX holds 2 GB" in refusal(tmp_path / "m.onnx")
    folder = tmp_path / "external"
    folder.mkdir()
    path = external(folder, length=str(2**31))
    with (folder / "weights.bin").open("r+b") as file:
        file.truncate(2**31 + 8)
    assert "2.0 GB of model" in refusal(path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: _ending("SplitToSequence"),
            "output 'y' is no tensor but a sequence or map: export it with tensors alone",
        ),
        (
            lambda: _ending("SplitToSequence", "ConcatFromSequence"),
            "SplitToSequence 'n0': sequences of tensors are not",
        ),
        (
            lambda: _ending("Scan"),
            "Scan 'n0': models with control flow are not supported: export it for a fixed number",
        ),
    ],
)
def test_what_is_no_tensor_or_no_fixed_number_of_steps_is_refused_with_advice(tmp_path, made, words):
    onnx.save(made(), tmp_path / "m.onnx")
    with pytest.raises(BadInputError) as error:
        read_model(tmp_path / "m.onnx")
    assert words in str(error.value)


def _ending(*kinds_of_node):
    more = {"SplitToSequence": {"axis": 1}, "ConcatFromSequence": {"axis": 1}, "Scan": {"num_scan_inputs": 1}}
    edges = ["x", *(f"e{i}" for i in range(len(kinds_of_node) - 1)), "y"]
    nodes = [node(kind, [edges[i]], [edges[i + 1]], name=f"n{i}", **more[kind]) for i, kind in enumerate(kinds_of_node)]
    made = model(nodes, {}, ("N", 4), output_rank=2)
    if kinds_of_node[-1] == "SplitToSequence":
        made.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    return made


def test_a_sequence_within_a_tensor_is_read(tmp_path):
    """ReverseSequence turns one around, as exporters of bidirectional networks have it; it makes none of tensors."""
    turn = node("ReverseSequence", ["x", "lengths"], ["y"], batch_axis=0, time_axis=1)
    onnx.save(model([turn], {"lengths": np.array([4])}, (1, 4), output_rank=2), tmp_path / "m.onnx")
    x = np.arange(4, dtype=np.float32)[None]
    np.testing.assert_array_equal(Reference(read_model(tmp_path / "m.onnx")).run({"x": x})["y"], x[:, ::-1])
