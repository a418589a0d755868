"""The built-in families, and the user's own models, by name."""

import sys

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.plugins import names
from edgekd.recipe import Model
from edgekd.students import build_model, count, takes_teacher

FAMILIES = [
    ("resnet", {}),
    ("resnet", {"depth": 14, "width": 4}),
    ("mobilenet", {"width": 0.25}),
    ("ds-cnn", {"width": 8, "blocks": 2}),
]


def build(name, options=None, classes=10, shape=(3, 32, 32), seed=0):
    return build_model(Model(model=name, options=options or {}), classes, shape, seed=seed)


@pytest.mark.parametrize(("name", "options"), FAMILIES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 20)])
def test_gives_logits_for_any_image(name, options, shape):
    model = build(name, options, classes=7, shape=shape).eval()
    images = torch.randn(2, *shape)
    assert model(images).shape == (2, 7)


def test_families_are_what_the_package_holds():
    assert {"cnn1d", "derived", "ds-cnn", "mobilenet", "resnet"} <= set(names("edgekd.students"))


def test_resnet_8_has_the_size_of_mlperf_tiny():
    # MLPerf Tiny states 78,666 with biases beside batch norm, which would be redundant: 624 fewer here; 12.5 M MACs.
    assert count(build("resnet"), (3, 32, 32)) == (78_042, 12_501_632)


def test_mobilenet_grows_with_its_width_in_multiples_of_eight():
    sizes = [count(build("mobilenet", {"width": width}), (3, 32, 32))[0] for width in (0.25, 0.5, 1.0)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(2.24e6, rel=0.02)  # the published CIFAR-10 variant


def test_a_transposed_convolution_multiplies_each_value_that_it_is_given():
    model = torch.nn.Sequential(torch.nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, groups=2), torch.nn.ReLU())
    assert count(model, (8, 5, 6)) == (8 * 2 * 4 * 4 + 4, 8 * 5 * 6 * 2 * 4 * 4)


def test_counting_leaves_the_model_as_it_was():
    model = build("ds-cnn", {"width": 8})
    model.stages.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count(model, (3, 32, 32))
    assert model.training
    assert not model.stages.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


class Attending(nn.Module):
    """Queries of its own ask what comes in, keys and values of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(1, 3, 8))
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(value=x, key=x, query=self.queries)[0]


def test_attention_and_recurrent_layers_multiply_too():
    assert count(Attending(), (5, 6))[1] == 3 * 8 * 8 + 2 * 5 * 6 * 8 + 3 * 8 * 8
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert count(encoder, (5, 8))[1] == 5 * (4 * 8 * 8 + 2 * 8 * 16)
    assert count(nn.LSTM(3, 4, batch_first=True), (5, 3))[1] == 5 * 4 * (3 * 4 + 4 * 4)
    assert count(nn.GRU(3, 4, bidirectional=True, batch_first=True), (5, 3))[1] == 2 * 5 * 3 * (3 * 4 + 4 * 4)


def test_macs_of_a_strided_grouped_convolution_by_hand():
    layers = torch.nn.Sequential(torch.nn.Conv2d(4, 8, (3, 1), stride=2, groups=2), torch.nn.Flatten())
    assert count(layers, (4, 9, 8)) == (8 * 2 * 3 + 8, 8 * (4 * 4) * (2 * 3))


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build("resnet", seed=3)
    state = torch.random.get_rng_state()
    again, other = build("resnet", seed=3), build("resnet", seed=4)
    assert torch.equal(first.head[2].weight, again.head[2].weight)
    assert not torch.equal(first.head[2].weight, other.head[2].weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_residual_branches_start_alive():
    for module in build("resnet", {"depth": 20}).modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnett", {}, "unknown model 'resnett'; did you mean 'resnet'?"),
        ("resnet", {"dept": 8}, "unknown option 'dept'; did you mean 'depth'?"),
        ("resnet", {"depth": 9}, "depth 9 is not 6n \\+ 2"),
        ("resnet", {"classes": 5}, "unknown option 'classes'"),
        ("resnet", {"depth": "8"}, "model 'resnet': "),
        ("mobilenet", {"width": 0.0}, "not positive"),
    ],
)
def test_a_wrong_name_or_option_is_one_clear_line(name, options, message):
    with pytest.raises(BadInputError, match=message) as caught:
        build(name, options)
    assert "\n" not in str(caught.value)


def test_the_users_own_model_gets_the_facts_that_its_signature_names(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(
        "from torch import nn\n"
        "def net(classes, input_shape, hidden=3):\n"
        "    pixels = input_shape[1] * input_shape[2]\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.Linear(hidden, classes))\n"
        "def text(): return 'hello'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        model = build("own_model:net", {"hidden": 5}, classes=4, shape=(1, 6, 2))
        assert model(torch.zeros(1, 1, 6, 2)).shape == (1, 4)
        with pytest.raises(BadInputError, match="unknown option 'hiden'; did you mean 'hidden'"):
            build("own_model:net", {"hiden": 5})
        with pytest.raises(BadInputError, match=r"gave a str, not a torch\.nn\.Module"):
            build("own_model:text")
    finally:
        sys.modules.pop("own_model", None)


def test_only_some_models_start_from_their_teacher():
    assert takes_teacher(Model(model="derived"))
    assert not takes_teacher(Model(model="resnet"))
