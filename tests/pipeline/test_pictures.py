"""Test samples drawn for the report: truth and answers, from the worst answer to the best."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from edgekd.data import as_dataset
from edgekd.data.dataset import Dataset
from edgekd.errors import BadInputError
from edgekd.pipeline.learn import Learned, StageContext
from edgekd.pipeline.pictures import draw
from edgekd.pipeline.stages import Stages
from edgekd.progress import SILENT
from edgekd.recipe import Recipe
from edgekd.reporting.html import render
from edgekd.reporting.pictures import WHO, path_of
from edgekd.reporting.run_record import RunRecord
from edgekd.tasks.detection import Detection, padded

TASK = Detection(stride=4, top_k=4)


def squares(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 16, 16) with a bright square in one cell of four pixels; of every third the truth is elsewhere."""
    images, boxes = np.zeros((count, 1, 16, 16), np.uint8), []
    for number, image in enumerate(images):
        x, y = 4 * (number % 4), 4 * (number // 4 % 4)
        image[0, y : y + 4, x : x + 4] = 250
        x = (x + 8) % 16 if number % 3 == 0 else x
        boxes.append(np.array([[x, y, x + 4, y + 4, 0]]))
    return images, padded(boxes)


def net(gain: float) -> nn.Conv2d:
    """A cell's logit is its brightness; its box is the cell itself."""
    found = nn.Conv2d(1, 5, 4, 4)
    with torch.no_grad():
        found.weight.zero_()[0].fill_(gain)
        assert found.bias is not None
        found.bias.copy_(torch.tensor([-1.0, 1.0, 1.0, 0.5, 0.5]))
    return found


def graph_of(module: nn.Conv2d) -> onnx.ModelProto:
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    node = helper.make_node("Conv", ["input", *weights], ["logits"], strides=[4, 4], kernel_shape=[4, 4])
    graph = helper.make_graph(
        [node], "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5, 4, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    recipe = Recipe.parse(
        {
            "name": "squares", "data": {"name": "npz"}, "teacher": {"model": "detector"},
            "student": {"model": "detector"}, "distillation": [{"method": "heat-map"}],
        },
        "recipe",
    )  # fmt: skip
    data: Dataset = as_dataset((squares(40), squares(12)), task=TASK)
    return StageContext(recipe, data, 0, Stages(tmp_path, SILENT), SILENT)


def drawn(context: StageContext) -> list[dict[str, float]]:
    path = context.folder / "int8-asymmetric.onnx"
    path.write_bytes(graph_of(net(0.4)).SerializeToString())
    networks = [Learned(net(gain).eval(), {}, context.folder) for gain in (1.0, 0.6)]
    return draw(context, *networks, {"float": path, "int8-asymmetric": path})


def test_the_report_shows_samples_from_the_worst_to_the_best(context: StageContext) -> None:
    found = drawn(context)
    assert len(found) == 4
    assert [row["metric"] for row in found] == [0, 0, 1, 1]  # a third of all are wrong
    pictures = sorted(path.name for path in (context.folder / "pictures").iterdir())
    assert pictures == sorted(Path(path_of(place, who)).name for place in range(4) for who in WHO)
    truth = np.asarray(Image.open(context.folder / "pictures" / "0-truth.png"))
    image = context.data.test.inputs[int(found[0]["sample"]), 0]
    assert truth.shape == (16, 16, 3)
    assert (truth != image[..., None]).any(axis=2).sum() == 12  # the outline of a box of four pixels
    page = render(RunRecord.of({"metric_name": "ap50", "pictures": found}), context.folder)
    assert page.count('<img src="data:image/png;base64,') == 16
    assert page.index(f"Sample {found[0]['sample']}:") < page.index(f"Sample {found[-1]['sample']}:")


def test_what_is_no_picture_is_not_shown(context: StageContext) -> None:
    found = drawn(context)
    (context.folder / "pictures" / "0-truth.png").unlink()
    assert render(RunRecord.of({"pictures": found}), context.folder).count("<img") == 15
    (context.folder / "pictures" / "1-truth.png").write_text("<script>")
    with pytest.raises(BadInputError, match=r"1-truth\.png: not a PNG image"):
        render(RunRecord.of({"pictures": found}), context.folder)


def test_without_a_scheme_or_a_task_that_draws_there_are_none(context: StageContext) -> None:
    networks = [Learned(net(1.0), {}, context.folder)] * 2
    assert draw(context, *networks, {"float": context.folder / "float.onnx"}) == []
