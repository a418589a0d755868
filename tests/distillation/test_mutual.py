"""Mutual learning, held against the paper in plain float64 loops."""

import math

import pytest
import torch
from torch import nn

from edgekd.distillation import Context, Example, Output, load_methods
from edgekd.distillation.mutual import Mutual, mutual_loss
from edgekd.errors import BadInputError


class Tokenised(nn.Module):
    """A parameter of the network's own, which no layer can reset, beside batch norm and a linear layer."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(6))
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.norm(x + self.position))


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def plain_mutual(networks, labels):
    total, batch = 0.0, len(labels)
    for k, network in enumerate(networks):
        others = [other for place, other in enumerate(networks) if place != k]
        for sample, label in enumerate(labels):
            q = softmax(network[sample])
            total -= math.log(q[label]) / batch if k else 0.0
            for other in others:
                p = softmax(other[sample])
                total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(others) / batch
    return total


def build(student, method):
    nothing = Output(torch.zeros(2, 3))
    torch.manual_seed(7)
    return method.build(Example(student, nn.Identity(), nothing, nothing, torch.zeros(4).long()))


def context(inputs, labels, module):
    return Context(0, 1, torch.arange(len(inputs)), labels, inputs, module=module)


@pytest.mark.parametrize("networks", [2, 3])
def test_is_the_definition(networks):
    logits = [torch.randn(4, 5, dtype=torch.float64) for _ in range(networks)]
    labels = torch.tensor([0, 3, 4, 3])
    expected = plain_mutual([network.tolist() for network in logits], labels.tolist())
    assert mutual_loss(logits, labels).item() == pytest.approx(expected, rel=1e-9)  # float64; exp and log apart


def test_a_gradient_takes_the_others_as_fixed():
    # With the others' probabilities p constant, d KL(p ‖ q) / d logits is (q − p) / N; a peer's labels add (q − y) / N.
    student, first, second = (torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    labels = torch.tensor([0, 3, 4, 3])
    gradients = torch.autograd.grad(mutual_loss([student, first, second], labels), (student, first, second))
    q = [network.detach().softmax(1) for network in (student, first, second)]
    hot = torch.eye(5, dtype=torch.float64)[labels]
    expected = [
        (q[0] - (q[1] + q[2]) / 2) / 4,
        (q[1] - (q[0] + q[2]) / 2 + q[1] - hot) / 4,
        (q[2] - (q[0] + q[1]) / 2 + q[2] - hot) / 4,
    ]
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-12)  # float64 rounding


def test_peers_start_from_weights_of_their_own():
    torch.manual_seed(0)
    student = Tokenised()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    peers = build(student, Mutual(peers=2))
    for name in ("position", "head.weight", "head.bias"):
        values = [student.get_parameter(name), *(peer.get_parameter(name) for peer in peers)]
        assert all(not torch.equal(a, b) for place, a in enumerate(values) for b in values[:place])
        assert torch.equal(values[0], before[name])
    assert torch.equal(peers[0].position.sort().values, student.position.sort().values)
    again = build(student, Mutual(peers=2))
    assert all(torch.equal(a, b) for a, b in zip(peers.parameters(), again.parameters(), strict=True))


def test_peers_learn_with_the_student_in_its_mode():
    torch.manual_seed(0)
    student, labels = Tokenised().train(), torch.arange(24) % 3
    inputs = torch.randn(24, 6) + 2 * torch.eye(6)[labels]
    peers = build(student.eval(), Mutual())
    student.train()
    optimizer = torch.optim.SGD([*student.parameters(), *peers.parameters()], 0.3)
    for _ in range(60):
        logits = student(inputs)
        loss = Mutual()(Output(logits), Output(torch.zeros(24, 3)), context(inputs, labels, peers))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The student never saw a label: what it knows, it knows from its peer, which batch norm let see these inputs.
    assert (student(inputs).argmax(1) == labels).float().mean() > 0.9
    assert peers[0].norm.num_batches_tracked == 60
    torch.testing.assert_close(peers[0].norm.running_var, student.norm.running_var, rtol=0.01, atol=0)


def test_labels_that_are_no_classes_are_one_clear_line():
    nothing = Output(torch.zeros(2, 3))
    with pytest.raises(BadInputError, match="scores"):
        Mutual().build(Example(Tokenised(), nn.Identity(), nothing, nothing, torch.rand(4)))


def test_loads_from_a_recipe():
    assert load_methods([{"method": "mutual", "peers": 3}]) == [Mutual(peers=3)]
