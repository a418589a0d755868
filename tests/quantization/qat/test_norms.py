import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.quantization.qat import calibrate, prepare, recalibrate_batchnorm
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.nets import ResNet, images, lively


def test_statistics_are_the_batches_own() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    net = nn.Sequential(nn.Dropout(), norm).train()
    batches = [2 * images(8, seed) + 1 for seed in range(3)]
    recalibrate_batchnorm(net, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-5, atol=1e-6)
    assert (norm.momentum, norm.training, net[0].training) == (0.1, True, True)  # dropout slept meanwhile


def test_nothing_but_statistics_changes_in_a_prepared_model() -> None:
    prepared = prepare(lively(ResNet), SCHEMES["int8-asymmetric"], images(2))
    calibrate(prepared, [images(16)])
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    recalibrate_batchnorm(prepared.eval(), [2 * images(16)])  # one batch, as `lively` saw
    changed = {name for name, value in prepared.state_dict().items() if not torch.equal(before[name], value)}
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var"}


def test_a_last_batch_of_one_sample_spoils_nothing() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    batches = [torch.randn(8, 3), torch.randn(8, 3)]
    recalibrate_batchnorm(net, batches)
    wanted = net[1].running_var.clone()
    recalibrate_batchnorm(net, [*batches, torch.randn(1, 3)])
    torch.testing.assert_close(net[1].running_var, wanted, rtol=0, atol=0)
    with pytest.raises(BadInputError, match="estimated anew: .*more than 1 value"):
        recalibrate_batchnorm(net, [torch.randn(1, 3)])
    torch.testing.assert_close(net[1].running_var, wanted, rtol=0, atol=0)
