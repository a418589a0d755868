"""Deep mutual learning (Zhang et al., arXiv:1706.00384)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output, ReadsOutput
from edgekd.errors import BadInputError
from edgekd.networks import call, named_outputs
from edgekd.outputs import one
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Mutual(ReadsOutput):
    """Learn along with `peers` networks of the student's kind, each from the labels and from all the others.

    The teacher is not asked. The paper gives the student's own labels the same weight: `cross_entropy = 1`. Peers see
    the student's batches in its mode and keep batch-norm statistics of their own.
    """

    peers: PositiveInt = 1
    weight: Weight = 1.0

    def build(self, example: Example) -> nn.Module:
        """Copies of the student with initial weights of their own; raises BadInputError where labels are no classes."""
        if example.labels.is_floating_point():
            raise BadInputError("mutual trains its peers on classes, but the labels of this data are scores")
        return nn.ModuleList(_redrawn(copy.deepcopy(example.student_model)) for _ in range(self.peers)).train()

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, of which the peers' share trains them."""
        assert isinstance(context.module, nn.ModuleList)
        peers = [
            one(named_outputs(call(peer, context.inputs)), self.output, "mutual", "the student").float()
            for peer in context.module
        ]
        return mutual_loss([context.rows(logits) for logits in (student.logits, *peers)], context.classes)


def mutual_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """What networks lose that learn from each other (eq. 8); logits (N, C), the student's first, labels (N,) int64.

    Sum over the networks of the mean over the others of KL(other ‖ network), the other held fixed, and for every
    network but the student, which has its own, the cross-entropy; means over the batch.
    """
    logs = [F.log_softmax(network, dim=1) for network in logits]
    losses = [F.nll_loss(peer, labels) for peer in logs[1:]]
    for number, network in enumerate(logs):
        others = [other.detach() for place, other in enumerate(logs) if place != number]
        losses += [F.kl_div(network, other, reduction="batchmean", log_target=True) / len(others) for other in others]
    return torch.stack(losses).sum()


def _redrawn(network: nn.Module) -> nn.Module:
    """The network with other initial weights, in place."""
    for module in network.modules():
        reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
        else:
            for parameter in module.parameters(recurse=False):
                _shuffle(parameter)
    return network


@torch.no_grad()
def _shuffle(parameter: Tensor) -> None:
    """Independent draws of one distribution, in another order, are another draw of them."""
    order = torch.randperm(parameter.numel(), device=parameter.device)
    parameter.copy_(parameter.flatten()[order].view(parameter.shape))
