"""What is optimised, how, and what of it survives."""

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.progress import SILENT
from edgekd.recipe import Training
from edgekd.training import LabelLoss, train
from edgekd.training.optimizer import build_optimizer

OPTIMIZERS = [("sgd", 5e-4), ("adamw", 0.01)]


@pytest.mark.parametrize(("optimizer", "decay"), OPTIMIZERS)
def test_only_what_multiplies_inputs_is_decayed(network, optimizer, decay):
    modules = nn.ModuleDict({"fit": nn.Linear(2, 2)})
    decayed, free = build_optimizer(network(), modules, Training(optimizer=optimizer)).param_groups
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in free["params"]} == {1}
    assert (decayed["weight_decay"], free["weight_decay"]) == (decay, 0.0)


def test_defaults_follow_the_optimizer_and_give_way_to_the_recipe():
    assert (Training().learning_rate, Training().weight_decay) == (0.1, 5e-4)
    given = Training.parse({"optimizer": "adamw", "weight_decay": 0.1, "betas": [0.9, 0.98]}, "r.toml")
    assert (given.learning_rate, given.weight_decay, given.betas) == (1e-3, 0.1, (0.9, 0.98))


@pytest.mark.parametrize(
    "document", [{"optimizer": "adam"}, {"schedule": "step"}, {"clip": -1.0}, {"betas": [0.9, 1.0]}]
)
def test_a_wrong_setting_is_one_clear_line(document):
    with pytest.raises(BadInputError, match=next(iter(document))) as caught:
        Training.parse(document, "r.toml")
    assert "\n" not in str(caught.value)


def test_adamw_takes_the_steps_of_the_paper():
    """Algorithm 2 of arXiv:1711.05101 in float64; 1e-12 is rounding."""
    layer = nn.Linear(3, 1, bias=False).double()
    settings = Training(optimizer="adamw", learning_rate=0.1, weight_decay=0.3, betas=(0.8, 0.9))
    optimizer = build_optimizer(layer, nn.ModuleDict(), settings)
    weight, m, v = layer.weight.detach().clone(), torch.zeros(1, 3).double(), torch.zeros(1, 3).double()
    for step in range(1, 6):
        gradient = torch.tensor([[0.5, -2.0, 3.0]]).double() / step
        layer.weight.grad = gradient.clone()
        optimizer.step()
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        weight = weight - 0.1 * ((m / (1 - 0.8**step)) / ((v / (1 - 0.9**step)).sqrt() + 1e-8) + 0.3 * weight)
        assert torch.allclose(layer.weight, weight, rtol=1e-12)


def test_a_clipped_step_is_no_longer_than_the_norm(tmp_path, blobs, network, recipe_data):
    model = network()
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = Training(
        epochs=1, batch=192, learning_rate=1.0, momentum=0.0, weight_decay=0.0, warmup=0.0, clip=1e-3
    )  # fmt: skip
    train(model, blobs(), recipe_data, settings, LabelLoss(), tmp_path, seed=1, key="k", reporter=SILENT)
    moved = torch.cat([(value.cpu() - before[name]).flatten() for name, value in model.named_parameters()]).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-2)  # one step of rate 1: float32 rounding of weights near 1
