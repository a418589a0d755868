"""Taps on networks."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from edgekd.errors import BadInputError
from edgekd.recipe import Model
from edgekd.students import build_model
from edgekd.training.taps import Taps

IMAGES = torch.randn(2, 1, 12, 12)


class Wrapper(nn.Module):
    """Calls its inner module with an argument by place, one by name, and one more."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens):
        return self.inner(tokens, key=tokens, value=2 * tokens)[0]


@pytest.fixture(autouse=True)
def own_accelerator_state():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def resnet():
    return build_model(Model(model="resnet", options={"depth": 14, "width": 4}), 3, (1, 12, 12)).eval()


def test_reads_outputs_and_inputs_by_name(resnet):
    with Taps(resnet, ["stages.2", "head:input", "stem"]) as taps:
        logits = resnet(IMAGES)
    stem = resnet.stem(IMAGES)
    assert torch.equal(taps.features["stem"], stem)
    assert torch.equal(taps.features["stages.2"], resnet.stages(stem))
    assert torch.equal(taps.features["head:input"], resnet.stages(stem))
    assert torch.equal(resnet.head(taps.features["stages.2"]), logits)


def test_a_star_is_one_level(resnet):
    with Taps(resnet, ["stages.*"]) as taps:
        resnet(IMAGES)
    assert list(taps.features) == ["stages.0", "stages.1", "stages.2"]


def test_features_carry_gradients(resnet):
    with Taps(resnet, ["stem"]) as taps:
        resnet(IMAGES)
    taps.features["stem"].sum().backward()
    assert resnet.stem[0].weight.grad.abs().sum() > 0
    assert resnet.head[2].weight.grad is None


def test_leaves_the_network_unchanged(resnet):
    before = resnet(IMAGES)
    with Taps(resnet, ["stages.*", "stem:input"]):
        pass
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in resnet.modules())
    assert torch.equal(resnet(IMAGES), before)


def test_work_in_place_does_not_reach_a_feature():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    with Taps(model, ["0"]) as taps:
        model(IMAGES)
    assert (taps.features["0"] < 0).any()


def test_a_wrong_name_is_one_clear_line(resnet):
    with pytest.raises(BadInputError, match=r"no module 'stage\.2' to tap; did you mean 'stages\.2'\?"):
        Taps(resnet, ["stage.2"])
    with pytest.raises(BadInputError, match="no module"):
        Taps(resnet, ["stages.*.nothing"])


@pytest.mark.parametrize("tap", ["stem:inputs", "stem:output.first", "stem:"])
def test_a_wrong_port_is_one_clear_line(resnet, tap):
    with pytest.raises(BadInputError, match=f"tap '{tap}': after the colon comes 'input' or 'output'"):
        Taps(resnet, [tap])


def test_of_several_values_it_takes_the_first_or_the_numbered():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model, tokens = Wrapper(attention), torch.randn(2, 5, 8)
    with Taps(model, ["inner", "inner:output.1", "inner:input.2", "inner:input"]) as taps:
        model(tokens)
    states, weights = attention(tokens, tokens, 2 * tokens)
    assert torch.equal(taps.features["inner"], states)
    assert torch.equal(taps.features["inner:output.1"], weights)
    assert torch.equal(taps.features["inner:input.2"], 2 * tokens)
    assert torch.equal(taps.features["inner:input"], tokens)


def test_what_is_no_tensor_cannot_be_tapped():
    model = nn.Sequential(nn.LSTM(4, 4))
    with Taps(model, ["0:output.1"]), pytest.raises(BadInputError, match=r"'0:output\.1' carries \(Tensor, \(Tensor, "):
        model(torch.randn(3, 4))
    with Taps(model, ["0:output.2"]), pytest.raises(BadInputError, match="no tensor: tap a module inside it"):
        model(torch.randn(3, 4))


def test_a_module_that_never_ran_is_one_clear_line(resnet):
    resnet.spare = nn.Identity()
    with Taps(resnet, ["stem", "spare"]) as taps:
        resnet(IMAGES)
    with pytest.raises(BadInputError, match="tap 'spare' saw nothing: the network does not call this module"):
        taps.features  # noqa: B018


def test_reads_bfloat16_under_autocast(resnet):
    with Taps(resnet, ["stages.1"]) as taps, torch.autocast("cpu", torch.bfloat16):
        resnet(IMAGES)
    assert taps.features["stages.1"].dtype == torch.bfloat16


def compiled_in_place(network):
    network.compile(backend="eager")
    return network


@pytest.mark.parametrize("compile_", [lambda network: torch.compile(network, backend="eager"), compiled_in_place])
def test_reads_a_compiled_network_at_every_step(network, compile_):
    torch._dynamo.reset()
    plain, compiled = network(), compile_(network())
    for _ in range(3):
        images = torch.randn(2, 1, 8, 8)
        with Taps(plain, ["0", "2:input"]) as eager, Taps(compiled, ["0", "2:input"]) as taps:
            plain.eval()(images)
            compiled.eval()(images)
        for name, feature in eager.features.items():
            assert torch.equal(taps.features[name], feature)
    taps.features["0"].sum().backward()
    assert next(compiled.parameters()).grad is not None


def test_a_network_compiled_before_it_was_tapped_fails_loudly(network):
    torch._dynamo.reset()
    compiled = torch.compile(network(), backend="eager")
    compiled(torch.randn(2, 1, 8, 8))
    with Taps(compiled, ["0"]) as taps:
        compiled(torch.randn(2, 1, 8, 8))
    with pytest.raises(BadInputError, match="compiled before it was tapped"):
        taps.features  # noqa: B018


def test_sees_through_what_accelerate_wraps_around_a_network(network):
    plain = network()
    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare(plain)
    with Taps(prepared, ["0"]) as taps:
        prepared(torch.randn(2, 1, 8, 8))
    assert taps.features["0"].shape == (2, 4, 8, 8)
    wrapped = nn.DataParallel(network())
    with Taps(wrapped, ["0"]) as taps:
        wrapped(torch.randn(2, 1, 8, 8))
    assert list(taps.features) == ["0"]
