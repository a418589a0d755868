"""Knowledge review, held against the paper in plain float64 loops."""

import pytest
import torch
from torch import nn

from edgekd.distillation import Context, Example, Output, load_methods
from edgekd.distillation.review import Fusion, Review, review_loss
from edgekd.errors import BadInputError

LAYERS = {"a": "x", "b": "y", "c": "z"}
OURS = {"a": (4, 8, 8), "b": (6, 4, 4), "c": (10, 2, 2)}
THEIRS = {"x": (5, 8, 8), "y": (7, 8, 8), "z": (9, 1, 1)}


def features(shapes, seed, samples=4):
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(samples, *shape, generator=random) for name, shape in shapes.items()}


def build(method, ours, theirs):
    student, teacher = (Output(torch.zeros(4, 3), features) for features in (ours, theirs))
    torch.manual_seed(0)
    return method.build(Example(nn.Identity(), nn.Identity(), student, teacher, torch.zeros(4).long()))


def loss_of(method, ours, theirs, module):
    inputs = torch.zeros(4, 1)
    context = Context(0, 1, torch.arange(4), torch.zeros(4).long(), inputs, module=module)
    return method(Output(inputs, ours), Output(inputs, theirs), context)


def cells(values, sides):
    """Means of a square list of rows over `sides` × `sides` equal cells."""
    size = len(values) // sides
    blocks = [[values[y * size + i][x * size + j] for i in range(size) for j in range(size)]
              for y in range(sides) for x in range(sides)]  # fmt: skip
    return [sum(block) / len(block) for block in blocks]


def plain_stage(ours, theirs):
    """One stage from maps (N, C, S, S): 1, ½, ¼, ⅛ times the error at S, 4, 2 and 1 cells a side, over their sum."""
    levels = [ours.shape[2], *(side for side in (4, 2, 1) if side < ours.shape[2])]
    loss = total = 0.0
    for depth, side in enumerate(levels):
        errors = [
            (a - b) ** 2
            for mine, other in zip(ours.flatten(0, 1).tolist(), theirs.flatten(0, 1).tolist(), strict=True)
            for a, b in zip(cells(mine, side), cells(other, side), strict=True)
        ]
        loss += 0.5**depth * sum(errors) / len(errors)
        total += 0.5**depth
    return loss / total


def test_is_the_definition():
    pairs = [[torch.randn(2, 3, size, size, dtype=torch.float64) for _ in range(2)] for size in (8, 4, 2, 1)]
    ours, theirs = zip(*pairs, strict=True)
    expected = sum(plain_stage(a, b) for a, b in pairs)
    assert review_loss(ours, theirs).item() == pytest.approx(expected, rel=1e-12)  # float64, order of sums
    ours = [feature.requires_grad_(True) for feature in ours[1:]]
    assert torch.autograd.gradcheck(lambda *features: review_loss(features, theirs[1:]), ours)


def test_a_series_is_pooled_along_its_one_axis():
    ours, theirs = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 3, 8, dtype=torch.float64)
    difference = ours - theirs  # pooling is linear
    levels = [difference.unflatten(2, (side, 8 // side)).mean(3).square().mean() for side in (8, 4, 2, 1)]
    expected = sum(level * 0.5**depth for depth, level in enumerate(levels)) / 1.875
    assert review_loss([ours], [theirs]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_fusion_is_the_papers():
    # Both in float64; batch norm in evaluation mode is the identity up to its eps of 1e-5.
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 4, 4, 4).double(), torch.randn(2, 5, 8, 8).double()
    deeper = torch.randn(2, 6, 2, 2).double()
    fusion = Fusion(ours, theirs, 6, deepest=False).double().eval()
    passed, projected = fusion(ours, deeper, (8, 8))
    own = torch.einsum("oi,nihw->nohw", fusion.reduce[0].weight[:, :, 0, 0], ours)
    up = deeper.repeat_interleave(2, 2).repeat_interleave(2, 3)
    scores = torch.einsum("oi,nihw->nohw", fusion.attend[0].weight[:, :, 0, 0], torch.cat((own, up), 1))
    attention = 1 / (1 + (-(scores + fusion.attend[0].bias[:, None, None])).exp())
    torch.testing.assert_close(passed, own * attention[:, :1] + up * attention[:, 1:], rtol=1e-4, atol=1e-4)
    assert projected.shape == theirs.shape
    assert fusion(ours, deeper + 1, (8, 8))[1].ne(projected).any()


def test_every_layer_learns_from_the_deeper_ones():
    method, ours, theirs = Review(LAYERS), features(OURS, 0), features(THEIRS, 1)
    module = build(method, ours, theirs)
    assert [fusion.reduce[0].out_channels for fusion in module.fusions] == [10, 10, 10]
    ours = {name: feature.requires_grad_(True) for name, feature in ours.items()}
    outputs = module(list(ours.values()), [feature.shape[2:] for feature in theirs.values()])
    assert [output.shape for output in outputs] == [feature.shape for feature in theirs.values()]
    for number, output in enumerate(outputs):
        gradients = torch.autograd.grad(
            output.square().sum(), list(ours.values()), retain_graph=True, allow_unused=True
        )
        assert [gradient is not None for gradient in gradients] == [tap >= number for tap in range(3)]


def test_learns():
    method, ours, theirs = Review(LAYERS, mid_channels=8), features(OURS, 0), features(THEIRS, 1)
    module = build(method, ours, theirs)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = loss_of(method, ours, theirs, module)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_vector_is_one_clear_line():
    with pytest.raises(BadInputError, match=r"'a' of shape \(4,\), 'x' of \(5, 8, 8\)") as caught:
        build(Review({"a": "x"}), {"a": torch.zeros(2, 4)}, {"x": torch.zeros(2, 5, 8, 8)})
    assert "\n" not in str(caught.value)


def test_does_not_broadcast():
    with pytest.raises(BadInputError, match=r"\(3, 4, 4\) and \(3, 1, 4\)"):
        review_loss([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 3, 1, 4)])


def test_loads_from_a_recipe():
    assert load_methods([{"method": "review", "layers": LAYERS}]) == [Review(LAYERS)]
