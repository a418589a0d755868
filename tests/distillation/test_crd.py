"""Contrastive distillation, held against the paper in plain float64 loops."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.distillation import Context, Example, Output, load_methods
from edgekd.distillation.crd import CRD, crd_loss
from edgekd.errors import BadInputError

TAP = "head:input"
LABELS = torch.arange(60) % 3
TINY = CRD(negatives=8, dimension=6)


def plain_crd(anchors, bank, rows, temperature, z):
    """Equations 17 and 18: h = exp(a·c / T) / Z against noise of density 1 / n, K negatives."""
    total, noise = 0.0, (len(rows[0]) - 1) / len(bank)
    for anchor, row in zip(anchors, rows, strict=True):
        for place, member in enumerate(row):
            product = sum(a * b for a, b in zip(anchor, bank[member], strict=True))
            h = math.exp(product / temperature) / z
            total -= math.log(h / (h + noise)) if place == 0 else math.log(noise / (h + noise))
    return total / len(anchors)


def scene(samples=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    anchors = F.normalize(torch.randn(samples, 6, generator=random, dtype=torch.float64)).requires_grad_(True)
    bank = F.normalize(torch.randn(30, 6, generator=random, dtype=torch.float64))
    return anchors, bank, torch.randint(30, (samples, 9), generator=random)


def build(method=TINY, labels=LABELS, ours=(5, 2, 2), theirs=(7,)):
    student, teacher = (Output(torch.zeros(2, 3), {TAP: torch.zeros(2, *shape)}) for shape in (ours, theirs))
    torch.manual_seed(0)
    return method.build(Example(nn.Identity(), nn.Identity(), student, teacher, labels))


def loss_of(ours, theirs, module, indices, method=TINY):
    nothing = torch.zeros(len(indices), 3)
    context = Context(0, 1, indices, LABELS[indices], nothing, module=module)
    return method(Output(nothing, {TAP: ours}), Output(nothing, {TAP: theirs}), context)


def test_is_the_definition():
    anchors, bank, rows = scene()
    expected = plain_crd(anchors.tolist(), bank.tolist(), rows.tolist(), 0.3, 12.0)
    loss = crd_loss(anchors, bank, rows, 0.3, torch.tensor(math.log(12.0), dtype=torch.float64))
    assert loss.item() == pytest.approx(expected, rel=1e-10)  # float64; exp and log apart lose a few digits


def test_gradient_is_that_of_the_value():
    anchors, bank, rows = scene()
    log_z = torch.tensor(2.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda vectors: 3 * crd_loss(vectors, bank, rows, 0.3, log_z), anchors)


def test_float32_holds_at_the_papers_temperature():
    # exp(1 / 0.07) is 1.6e6: against float64 the loss and its gradient keep 1e-5, relative to their size.
    anchors, bank, rows = scene(16)
    log_z = torch.tensor(5.0, dtype=torch.float64)
    exact = crd_loss(anchors, bank, rows, 0.07, log_z)
    single = anchors.detach().float().requires_grad_(True)
    loss = crd_loss(single, bank.float(), rows, 0.07, log_z.float())
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
    (gradient,), (expected,) = torch.autograd.grad(loss, single), torch.autograd.grad(exact, anchors)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-5)


def test_negatives_are_uniform_over_the_other_classes():
    labels = torch.tensor([2, 0, 2, 5, 0, 2, 5, 2, 2, 0])
    negatives = build(labels=labels).negatives
    torch.manual_seed(1)
    drawn = negatives.draw(torch.arange(10), 20_000)
    for sample, row in enumerate(drawn):
        shares = torch.bincount(row, minlength=10) / len(row)
        others = labels != labels[sample]
        # Uniform over at least 5 samples: five deviations of a share of 1/5 in 20,000 draws are 0.014.
        torch.testing.assert_close(shares, others / others.sum(), rtol=0, atol=0.015)


def test_scores_without_classes_take_any_other_sample():
    negatives = build(labels=torch.rand(5)).negatives
    drawn = negatives.draw(torch.arange(5), 500)
    assert [set(row) for row in drawn.tolist()] == [set(range(5)) - {sample} for sample in range(5)]


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_a_step_is_the_papers(momentum):
    """Both directions over Z = n · mean score of the first batch; then both memories move towards the batch."""
    method = dataclasses.replace(TINY, momentum=momentum)
    module, indices = build(), torch.tensor([4, 40, 17])
    ours, theirs = torch.randn(3, 5, 2, 2), torch.randn(3, 7)
    banks = [module.ours.bank.double(), module.theirs.bank.double()]
    torch.manual_seed(3)
    negatives = module.negatives.draw(indices, TINY.negatives)
    torch.manual_seed(3)
    loss = loss_of(ours, theirs, module, indices, method)
    with torch.no_grad():
        student = F.normalize(module.heads[0](ours.mean((2, 3)))).double()
        teacher = F.normalize(module.heads[1](theirs)).double()
    rows = torch.cat((indices[:, None], negatives), 1)
    expected = 0.0
    for anchors, bank in ((student, banks[1]), (teacher, banks[0])):
        z = len(bank) * (torch.einsum("nd,nkd->nk", anchors, bank[rows]) / 0.07).exp().mean().item()
        expected += plain_crd(anchors.tolist(), bank.tolist(), rows.tolist(), 0.07, z)
    assert loss.item() == pytest.approx(expected, rel=1e-4)  # float32 against float64
    for memory, old, new in ((module.ours, banks[0], student), (module.theirs, banks[1], teacher)):
        old[indices] = F.normalize(momentum * old[indices] + (1 - momentum) * new)
        torch.testing.assert_close(memory.bank.double(), old, rtol=0, atol=1e-6)  # float32 numbers below 1
    before = module.ours.log_z.clone()
    loss_of(2 * ours + 1, theirs, module, indices)
    assert module.ours.log_z == before


def test_the_student_finds_its_teachers_embedding():
    torch.manual_seed(0)
    method, module = CRD(negatives=16, dimension=6), build()
    theirs, ours = F.one_hot(LABELS, 7) + 0.3 * torch.randn(60, 7), torch.randn(60, 5, 2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([ours, *module.parameters()], 0.02)
    losses = []
    for _ in range(40):
        loss = loss_of(ours, theirs, module, torch.arange(60), method)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    student, teacher = module.embed(ours.mean((2, 3)), theirs)
    means = [torch.stack([side[kind == LABELS].mean(0) for kind in range(3)]) for side in (student, teacher)]
    assert (means[0] @ means[1].T).argmax(1).tolist() == [0, 1, 2]


def test_resumes_equal_from_its_buffers():
    indices, ours, theirs = torch.arange(10), torch.randn(10, 5, 2, 2), torch.randn(10, 7)
    killed, resumed = build(), build()
    loss_of(ours, theirs, killed, indices)
    assert sum(value.numel() for value in killed.state_dict().values()) < 2 * 60 * 6 + 200  # the draw is not saved
    resumed.load_state_dict(killed.state_dict())
    losses = []
    for module in (killed, resumed):
        torch.manual_seed(5)
        losses.append(loss_of(ours, theirs, module, indices).item())
    assert losses[0] == losses[1]


def test_one_class_is_one_clear_line():
    with pytest.raises(BadInputError, match="only one"):
        build(labels=torch.full((5,), 3))


def test_tokens_are_one_clear_line():
    module = build(ours=(9, 5), theirs=(9, 7))
    with pytest.raises(BadInputError, match="behind the pooling"):
        module.embed(torch.zeros(2, 5), torch.zeros(2, 7))


def test_loads_from_a_recipe():
    assert load_methods([{"method": "crd", "negatives": 64}]) == [CRD(negatives=64)]
    with pytest.raises(BadInputError, match="pattern"):
        load_methods([{"method": "crd", "student_layer": "stages.*"}])
