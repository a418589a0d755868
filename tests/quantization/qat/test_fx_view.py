from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.quantization.onnx_view import view_of as onnx_view
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qat.export import export_float
from edgekd.quantization.qat.fx_view import view_of as fx_view
from edgekd.quantization.qat.trace import trace
from edgekd.quantization.scheme import SCHEMES
from edgekd.quantization.view import View
from tests.quantization.nets import NETS, images, lively


class Functional(nn.Module):
    """The same words as functions and methods, with branches that join."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        a = torch.clamp(self.conv2(x), 0, 6)
        b = self.conv3(F.pad(x, (1, 1, 1, 1))).sigmoid()
        x = torch.cat([a * b, x.relu()], 1)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return F.softmax(self.fc(F.dropout(x, training=False)), 1)


def signature(view: View, placement: Placement) -> list[tuple[object, ...]]:
    """What is quantised, by position: the kind of its maker, what is fixed, how many edges share."""
    moved = {"Flatten", "Reshape"}  # ONNX has one more where a mean drops its axes

    def kind(edge: str) -> str:
        op = view.producers.get(edge)
        while op is not None and op.kind == "BatchNormalization":  # folded in ONNX
            op = view.producers[op.inputs[0]]
        return op.kind if op is not None else "input"

    shared = Counter(group for edge, group in placement.groups.items() if kind(edge) not in moved)
    return [
        (kind(edge), placement.fixed.get(edge), edge in placement.observed, shared[group])
        for edge, group in placement.groups.items()
        if kind(edge) not in moved
    ]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
@pytest.mark.parametrize("kind", [*NETS, Functional])
def test_torch_and_onnx_are_placed_alike(
    kind: type[nn.Module], scheme: object, views: dict[type, tuple[View, View]]
) -> None:
    if kind not in views:
        net = lively(kind) if kind in NETS else kind()
        views[kind] = fx_view(trace(net).module)[0], onnx_view(export_float(net, images(2)))
    torch_view, exported_view = views[kind]
    torch_placement, exported_placement = place(torch_view, scheme), place(exported_view, scheme)
    assert signature(torch_view, torch_placement) == signature(exported_view, exported_placement)
    assert torch_placement.weights == exported_placement.weights


@pytest.fixture(scope="module")
def views() -> dict[type, tuple[View, View]]:
    return {}


def kinds(net: nn.Module) -> list[str]:
    return [op.kind for op in fx_view(trace(net).module)[0].ops]


def test_words_keep_their_plain_meaning() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clamp, self.pad = nn.Hardtanh(-1, 1), nn.ConstantPad2d(1, 2.0)
            self.conv, self.pool = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.AdaptiveAvgPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.conv(self.pad(self.clamp(x)))).mean(1) + x.clamp(min=-1).sum()

    assert not set(kinds(Odd())) & {"Clip", "Pad", "Conv", "GlobalAveragePool", "AveragePool"}


def test_sizes_are_no_readers_and_indices_are_lookups() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 12), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            batch, width = y.size(0), y.shape[1]
            return self.fc(F.relu(y)[:, :, ...].view(batch, width))[:, 0]

    view, _ = fx_view(trace(Sized()).module)
    assert [op.kind for op in view.ops] == ["Conv", "Relu", "Slice", "Reshape", "Gemm", "Gather"]
    groups = place(view, SCHEMES["int8-asymmetric"]).groups
    assert len(groups) == 6
    assert groups["logits"] == groups["fc"]  # a constant index only moves values


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        if y.sum() > 0:  # the line that is to blame
            return y
        return x


def test_a_model_that_cannot_be_traced_names_its_line() -> None:
    with pytest.raises(BadInputError) as caught:
        trace(Branching())
    message = str(caught.value)
    line = next(n for n, text in enumerate(open(__file__), 1) if "the line that is" in text)  # noqa: SIM115, PTH123
    assert message.startswith(f"{__file__}:{line}: `if y.sum() > 0:")
    assert "make it independent of tensor values" in message
    assert "\n" not in message
