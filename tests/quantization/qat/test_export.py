from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekd.backends.reference import Reference, output_steps
from edgekd.errors import BadInputError
from edgekd.quantization.qat import calibrate, export_float, export_qdq, prepare
from edgekd.quantization.qdq import scheme_of
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.quantization.nets import DSCNN, NETS, MobileNet, ResNet, images, lively
from tests.quantization.onnx_models import constants, kinds
from tests.quantization.qat.prepare_once import prepare_once

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
GAMMAS = torch.tensor([0.0, 1e-8, -1e-8, 1e-3, -1e-3, 1.0, -1.0, 1.0])


def trained(kind: type[nn.Module], scheme: Scheme) -> nn.Module:
    """A prepared network after a few steps, some of whose channels have a gamma of next to nothing."""
    prepared = prepare_once(kind, scheme).train()
    norms = [module for module in prepared.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[1].weight.data = GAMMAS.repeat(2)[: len(norms[1].weight)].clone()
    parameters = [value for name, value in prepared.named_parameters() if value.ndim > 1]
    optimizer = torch.optim.SGD(parameters, 0.01)
    for step in range(10):
        loss = nn.functional.cross_entropy(prepared(images(32, seed=step)), torch.arange(32) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prepared.eval()


def compare(prepared: nn.Module, exported: onnx.ModelProto) -> tuple[np.ndarray, float, float]:
    """Differences of the logits in steps; share of equal classes where the top two lie over 4 steps apart; spread."""
    x = images(256, seed=99)
    with torch.no_grad():
        ours = prepared(x).numpy()
    theirs = Reference(exported).run({"input": x.numpy()})["logits"]
    step = output_steps(exported)["logits"]
    assert step is not None
    ranked = np.sort(theirs, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 4 * step
    agreement = (ours.argmax(1) == theirs.argmax(1))[clear].mean()
    return np.abs(ours - theirs) / step, float(agreement), float(theirs.std(0).mean() / step)


@cache
def case(kind: type[nn.Module], scheme: Scheme) -> tuple[nn.Module, onnx.ModelProto]:
    prepared = trained(kind, scheme)
    return prepared, export_qdq(prepared, images(2), scheme)


CASES = [
    (ResNet, ASYMMETRIC),
    (MobileNet, ASYMMETRIC),
    (DSCNN, ASYMMETRIC),
    (ResNet, SYMMETRIC),
    (MobileNet, SYMMETRIC),
    (DSCNN, SCHEMES["htp-w8a16"]),
]


@pytest.mark.parametrize(("kind", "scheme"), CASES)
def test_what_was_trained_is_what_is_exported(kind: type[nn.Module], scheme: Scheme) -> None:
    steps, agreement, spread = compare(*case(kind, scheme))
    assert spread > 8  # the outputs move, or agreement would mean nothing
    assert agreement == 1.0
    # Rounded biases and float sums in another order flip ties; a random deep network spreads them by a step or two.
    assert np.percentile(steps, 99) <= 4


@pytest.mark.parametrize("kind", [ResNet, MobileNet])
def test_with_float_biases_almost_nothing_differs(kind: type[nn.Module]) -> None:
    steps, agreement, _ = compare(*case(kind, SYMMETRIC))
    assert agreement == 1.0
    assert (steps > 0.5).mean() < 0.05  # share of outputs that moved at all: ties, flipped by another order of sums


@pytest.mark.parametrize(("kind", "scheme"), CASES)
def test_the_file_keeps_its_contract(kind: type[nn.Module], scheme: Scheme) -> None:
    exported = case(kind, scheme)[1]
    onnx.checker.check_model(exported, full_check=True)
    assert scheme_of(exported) is scheme
    assert not {"BatchNormalization", "Shape", "Identity"} & set(kinds(exported))
    values = constants(exported)
    read = [name for entry in exported.graph.node for name in entry.input if name in values]
    assert len(read) == len(set(read)) == len(values)
    assert all((value > 0).all() for name, value in values.items() if name.endswith("_scale"))
    assert not [
        entry for entry in exported.graph.node if entry.op_type == "QuantizeLinear" and entry.input[0] in values
    ]


def test_biases_of_dead_channels_do_not_overflow() -> None:
    values = constants(case(ResNet, ASYMMETRIC)[1])
    biases = [value.astype(np.int64) for name, value in values.items() if name.endswith("bias_quantized")]
    assert len(biases) == 7
    assert max(np.abs(value).max() for value in biases) == pytest.approx(2**30, rel=1e-6)  # one channel is at the limit


def test_relu6_edges_stay_within_six() -> None:
    exported = case(MobileNet, ASYMMETRIC)[1]
    values = constants(exported)
    makers = {name: entry.op_type for entry in exported.graph.node for name in entry.output}
    clipped = [
        entry
        for entry in exported.graph.node
        if entry.op_type == "QuantizeLinear" and makers.get(entry.input[0]) == "Clip"
    ]
    assert len(clipped) == 7
    for entry in clipped:
        assert float(values[entry.input[1]]) * 255 <= 6.0
        assert values[entry.input[2]] == 0


@pytest.mark.parametrize("kind", NETS)
def test_the_float_export_is_the_model(kind: type[nn.Module], capfd: pytest.CaptureFixture[str]) -> None:
    net, x = lively(kind), images(8, seed=3)
    expected = net(x).detach().numpy()
    net.to(memory_format=torch.channels_last)  # the file does not remember how the weights lay
    exported = export_float(net, images(1).contiguous(memory_format=torch.channels_last))
    found = Reference(exported).run({"input": x.numpy()}, batch=3)["logits"]
    # Folding rounds weights once to float32; logits are of order 1.
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert exported.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert "BatchNormalization" not in kinds(exported)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_ranges_is_refused() -> None:
    prepared = prepare_once(ResNet, ASYMMETRIC)
    with pytest.raises(BadInputError, match="no range was observed; train the prepared model or calibrate it first"):
        export_qdq(prepared, images(2), ASYMMETRIC)
    calibrate(prepared, [images(4) * float("nan")])
    with pytest.raises(BadInputError, match="not finite"):
        export_qdq(prepared, images(2), ASYMMETRIC)


def test_models_may_end_in_a_softmax_or_in_nothing_at_all() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(432, 5)
            self.dropout = nn.Dropout()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.fc(x.flatten(1))
            return self.dropout(logits), logits.softmax(1)

    prepared = prepare(Head().eval(), ASYMMETRIC, images(2))
    calibrate(prepared, [images(16)])
    exported = export_qdq(prepared, images(2), ASYMMETRIC)
    steps = output_steps(exported)
    assert list(steps) == ["logits", "logits_1"]
    assert steps["logits"] is not None
    assert steps["logits_1"] is None  # what follows the last layer stays in float


class Turned(nn.Module):
    """A layer over channels last, as ConvNeXt's norms and Linears are."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned: torch.Tensor = self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return turned


class Corner(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]


@pytest.mark.parametrize("head", [nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Corner()])
@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.Linear(8, 8)])
def test_activations_that_come_back_channels_last_leave_no_strides(head: nn.Module, layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), Turned(layer), head).eval()
    example = torch.randn(5, 3, 12, 12)
    graph = export_float(net, example)
    assert not {"Gather", "Range", "Shape"} & {node.op_type for node in graph.graph.node}
    found = Reference(graph).run({"input": example.numpy()})["logits"]
    np.testing.assert_allclose(found, net(example).detach().numpy(), atol=1e-5)  # float32 sums in another order
