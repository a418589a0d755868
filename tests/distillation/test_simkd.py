"""The teacher's head behind a projector, up to the deployed network."""

import pytest
import torch
from torch import nn

from edgekd.distillation import Builds, Context, Deploys, Example, Output
from edgekd.distillation.simkd import SimKD, projector, simkd_loss
from edgekd.errors import BadInputError
from edgekd.recipe import Model
from edgekd.students import build_model
from edgekd.training.taps import Taps

IMAGES = (1, 8, 8)


def resnet(width, seed):
    return build_model(Model(model="resnet", options={"depth": 8, "width": width}), 3, IMAGES, seed=seed).eval()


def answer(model, inputs, taps):
    with torch.no_grad(), Taps(model, taps) as seen:
        logits = model(inputs)
    return Output(logits, dict(seen.features))


def scene(student, teacher, method, inputs):
    ours, theirs = answer(student, inputs, method.student_taps), answer(teacher, inputs, method.teacher_taps)
    torch.manual_seed(0)
    return ours, theirs, method.build(Example(student, teacher, ours, theirs, torch.zeros(4).long()))


def context(inputs, module):
    return Context(0, 1, torch.arange(len(inputs)), torch.zeros(len(inputs)).long(), inputs, module=module)


def plain_loss(projected, feature):
    """Mean over everything of the squared difference from the teacher's average over each of `projected`'s cells."""
    high, wide = feature.shape[2] // projected.shape[2], feature.shape[3] // projected.shape[3]
    total, count = 0.0, 0
    for n, c, y, x in torch.cartesian_prod(*(torch.arange(size) for size in projected.shape)).tolist():
        cell = feature[n, c, y * high : (y + 1) * high, x * wide : (x + 1) * wide].flatten().tolist()
        total += (projected[n, c, y, x].item() - sum(cell) / len(cell)) ** 2
        count += 1
    return total / count


@pytest.mark.parametrize("grid", [(4, 4), (2, 4), (1, 1)])
def test_is_the_mean_squared_error_on_the_smaller_grid(grid):
    projected = torch.randn(2, 3, *grid, dtype=torch.float64, requires_grad=True)
    feature = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = plain_loss(projected.detach(), feature)
    assert simkd_loss(projected, feature).item() == pytest.approx(expected, rel=1e-12)  # float64, order of sums
    assert torch.autograd.gradcheck(lambda ours: simkd_loss(ours, feature), projected)


@pytest.mark.parametrize(
    ("ours", "theirs", "out"),
    [
        ((2, 8, 4, 4), (2, 12, 4, 4), (2, 12, 4, 4)),
        ((2, 8, 8, 8), (2, 12, 4, 2), (2, 12, 4, 2)),
        ((2, 8, 7, 7), (2, 12, 4, 3), (2, 12, 4, 3)),
        ((2, 8, 2, 2), (2, 12, 4, 4), (2, 12, 2, 2)),
        ((2, 8, 6), (2, 12, 3), (2, 12, 3)),
        ((2, 8, 7), (2, 12, 3), (2, 12, 3)),
        ((2, 8), (2, 12), (2, 12)),
    ],
)
def test_the_projector_ends_on_the_teachers_channels_and_the_smaller_grid(ours, theirs, out):
    assert projector(torch.randn(ours), torch.randn(theirs), 2)(torch.randn(ours)).shape == out


def test_the_projector_is_the_papers_bottleneck():
    layers = projector(torch.randn(2, 8, 4, 4), torch.rand(2, 12, 4, 4), 2)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (8, 6, 1),
        (6, 6, 3),
        (6, 12, 1),
    ]
    assert [type(layer) for layer in layers] == 3 * [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert isinstance(projector(torch.randn(2, 8, 4, 4), -torch.rand(2, 12, 4, 4), 2)[-1], nn.BatchNorm2d)


def test_the_middle_of_a_narrow_teachers_projector_keeps_one_channel():
    layers = projector(torch.randn(2, 8, 4, 4), torch.rand(2, 1, 4, 4), 2)
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [1, 1, 1]


@pytest.mark.parametrize(("ours", "kind"), [((8, 6), nn.AvgPool2d), ((8, 7), nn.AdaptiveAvgPool2d)])
def test_grids_that_divide_are_pooled_by_a_window_that_every_backend_knows(ours, kind):
    assert type(projector(torch.randn(2, 8, *ours), torch.rand(2, 12, 4, 2 + ours[1] % 2), 2)[0]) is kind


def test_learns_to_answer_as_the_teacher():
    student, teacher, method = resnet(4, 0), resnet(6, 1), SimKD()
    assert isinstance(method, Builds)
    assert isinstance(method, Deploys)
    inputs = torch.randn(16, *IMAGES)
    _, theirs, module = scene(student, teacher, method, inputs)
    deployed = method.deploy(student, module).train()
    before = (deployed(inputs) - theirs.logits).square().mean().item()
    optimizer = torch.optim.Adam([*student.parameters(), *module.parameters()], 0.01)
    losses = []
    for _ in range(30):
        with Taps(student.train(), method.student_taps) as taps:
            logits = student(inputs)
        loss = method(Output(logits, taps.features), theirs, context(inputs, module))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert (deployed(inputs) - theirs.logits).square().mean().item() < 0.2 * before


def test_the_teachers_head_stays_as_it_is():
    student, teacher, method = resnet(4, 0), resnet(6, 1), SimKD()
    *_, module = scene(student, teacher, method, torch.randn(4, *IMAGES))
    assert module.training
    assert not module.train()[1].training
    assert not any(parameter.requires_grad for parameter in module[1].parameters())
    assert all(parameter.requires_grad for parameter in module[0].parameters())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_deploys_without_touching_the_student():
    student, teacher, method = resnet(4, 0), resnet(6, 1), SimKD()
    inputs = torch.randn(4, *IMAGES)
    *_, module = scene(student, teacher, method, inputs)
    head, names = student.head, list(student.state_dict())
    deployed = method.deploy(student, module).eval()
    assert student.head is head
    assert list(student.state_dict()) == names
    expected = teacher.head(module[0](student.stages(student.stem(inputs))))
    assert torch.equal(deployed(inputs), expected)
    with torch.no_grad():
        student.stem[0].weight.mul_(2)
    assert torch.equal(deployed.state_dict()["stem.0.weight"], student.stem[0].weight)
    saved = {name: value.clone() for name, value in deployed.state_dict().items()}
    other = method.deploy(resnet(4, 5), module)
    other.load_state_dict(saved)
    assert torch.equal(other.eval()(inputs), deployed(inputs))


def test_a_head_deeper_in_a_network_is_replaced_and_exported():
    student = nn.Sequential(nn.Flatten(), nn.ModuleDict({"unused": nn.Identity()}), nn.Sequential(nn.Linear(64, 3)))
    student[1] = nn.Identity()
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3)).eval()
    method, inputs = SimKD("2.0", "3"), torch.randn(4, *IMAGES)
    *_, module = scene(student, teacher, method, inputs)
    assert isinstance(module[0], nn.Linear)
    deployed = method.deploy(student, module).eval()
    exported = torch.export.export(deployed, (inputs,)).module()
    torch.testing.assert_close(exported(inputs), teacher[3](module[0](inputs.flatten(1))))
    assert isinstance(student[2][0], nn.Linear)


@pytest.mark.parametrize(
    ("teacher", "head", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "1", r"'head:input' of shape \(16, 2, 2\) to '1:input'"),
        (nn.Sequential(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))), "1", "so small a grid"),
    ],
)
def test_heads_that_do_not_fit_are_one_clear_line(teacher, head, message):
    with pytest.raises(BadInputError, match=message) as caught:
        scene(resnet(4, 0), teacher.eval(), SimKD(teacher_head=head), torch.randn(4, *IMAGES))
    assert "\n" not in str(caught.value)
