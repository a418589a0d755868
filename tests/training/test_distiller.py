"""The distiller in loops of others: a plain one, and those that Lightning, HF's Trainer and accelerate ask for."""

from collections import OrderedDict

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import edgekd
from edgekd.distillation.kd import kd_loss
from edgekd.errors import BadInputError
from edgekd.quantization.qat import calibrate, prepare
from edgekd.quantization.scheme import SCHEMES


def network(width):
    torch.manual_seed(width)
    first = [nn.Conv2d(1, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def batch(count=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=random), torch.randint(0, 3, (count,), generator=random)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_loss_is_the_users_and_the_methods_weighted():
    teacher, student = network(8), network(4)
    x, y = batch()
    with edgekd.Distiller(teacher, student, [edgekd.KD(2.0, weight=0.9)]) as distiller:
        answers = student(x)
        loss = distiller(x, F.cross_entropy(answers, y))
    with torch.no_grad():
        wanted = F.cross_entropy(answers, y) + 0.9 * kd_loss(answers, teacher.eval()(x), 2.0)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)  # the same float32 operations
    assert set(distiller.terms) == {"kd"}


def test_the_teacher_rests_and_is_given_back_and_no_hook_stays():
    teacher, student = network(8).train(), network(4)
    before, (x, _) = state(teacher), batch()
    hint = edgekd.Hint({"2": "2"})
    with edgekd.Distiller(teacher, student, [hint], samples=x) as distiller:
        teacher.train()  # as a loop does that puts all of its children into training
        student(x)
        distiller(x).backward()
        assert not teacher.training
    assert teacher.training
    assert same(teacher, before)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for net in (teacher, student) for module in net.modules()
    )
    assert [parameter.grad is not None for parameter in distiller.parameters()] == [True, True]
    assert {name for name in distiller.state_dict() if "weight" in name} == {"built.hint.0.0.weight"}


def test_weights_move_with_the_calls():
    teacher, student, (x, _) = network(8), network(4), batch()
    ramp = edgekd.KD(weight=edgekd.Ramp(start=0.0, end=1.0, until=1.0))
    with edgekd.Distiller(teacher, student, [ramp], total_steps=4) as distiller:
        shares = []
        for _ in range(5):
            student(x)
            shares.append((distiller(x) / distiller.terms["kd"]).item())
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-6)  # a float32 product and its quotient
    resumed = edgekd.Distiller(teacher, student, [ramp], total_steps=4)
    resumed.load_state_dict(distiller.state_dict())
    assert resumed.step == 5
    with pytest.raises(
        BadInputError, match=r"kd: its weight changes on the way: give it Distiller\(…, total_steps=…\)"
    ):
        edgekd.Distiller(teacher, student, [ramp])


def test_a_student_in_the_chips_arithmetic_is_taught_alike():
    teacher, (x, y) = network(8), batch()
    prepared = prepare(network(4), SCHEMES["int8-asymmetric"], x[:2])
    calibrate(prepared, [x])
    optimizer = torch.optim.SGD(prepared.parameters(), 0.1)
    with edgekd.Distiller(teacher, prepared, [edgekd.KD(), edgekd.Attention({"2": "2"})]) as distiller:
        losses = []
        for _ in range(8):
            loss = distiller(x, F.cross_entropy(prepared(x), y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_deployed_student_keeps_what_simkd_keeps():
    teacher, student, (x, _) = network(8).eval(), network(4).eval(), batch()
    with edgekd.Distiller(teacher, student, [edgekd.SimKD("5", "5")], samples=x) as distiller:
        deployed = distiller.deploy().eval()
    assert not torch.equal(deployed(x), student(x))
    assert torch.equal(deployed[5][1].weight, teacher[5].weight)


class LightningModule(nn.Module):
    """What Lightning asks of a module: `training_step` and `configure_optimizers`; networks are its children."""

    def __init__(self, teacher, student, samples):
        super().__init__()
        self.teacher, self.student = teacher, student
        self.distiller = edgekd.Distiller(teacher, student, [edgekd.KD(), edgekd.Hint({"2": "2"})], samples=samples)

    def on_fit_start(self):
        self.distiller.__enter__()

    def on_fit_end(self):
        self.distiller.__exit__()

    def training_step(self, pair, _):
        x, y = pair
        return self.distiller(x, F.cross_entropy(self.student(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD([*self.student.parameters(), *self.distiller.parameters()], 0.1)


def test_in_a_loop_as_lightning_has_it():
    x, y = batch()
    module = LightningModule(network(8), network(4), x)
    teacher, built, optimizer = state(module.teacher), state(module.distiller), module.configure_optimizers()
    module.on_fit_start()
    for number in range(3):
        loss = module.train().training_step((x, y), number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.on_fit_end()
    assert same(module.teacher, teacher)
    assert not same(module.distiller, built)


class Encoder(nn.Module):
    """As a model of transformers: inputs by name, an ordered dictionary out, in which the loss comes first."""

    def __init__(self, width):
        super().__init__()
        torch.manual_seed(width)
        self.embed, self.head = nn.Embedding(20, width), nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask, labels=None):
        found = (self.embed(input_ids) * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        logits = self.head(found)
        loss = [] if labels is None else [("loss", F.cross_entropy(logits, labels))]
        return OrderedDict([*loss, ("logits", logits), ("hidden", found)])


class Trainer:
    """What HF's Trainer asks of a subclass: `compute_loss` of a model and a collated batch."""

    def __init__(self, model, distiller):
        self.model, self.distiller = model, distiller

    def compute_loss(self, model, inputs, return_outputs=False):
        outputs = model(**inputs)
        loss = self.distiller(inputs, outputs["loss"], labels=inputs["labels"], mask=inputs["attention_mask"] > 0)
        return (loss, outputs) if return_outputs else loss


def test_in_a_loop_as_hugging_faces_trainer_has_it():
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randint(1, 20, (8, 5)), "attention_mask": torch.ones(8, 5)}
    inputs["labels"] = torch.randint(0, 3, (8,))
    teacher, student = Encoder(16), Encoder(4)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    with edgekd.Distiller(teacher, student, [edgekd.DKD()]) as distiller:
        trainer = Trainer(student, distiller)
        loss, outputs = trainer.compute_loss(student, inputs, return_outputs=True)
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx((outputs["loss"] + distiller.terms["dkd"]).item(), rel=1e-6)  # one float32 sum


def test_in_accelerates_loop():
    x, y = batch(32)
    teacher, student = network(8), network(4)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    distiller = edgekd.Distiller(teacher, student, [edgekd.KD(), edgekd.Hint({"2": "2"})], samples=x)
    optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], 0.1)
    model, optimizer, loader = accelerator.prepare(student, optimizer, DataLoader(TensorDataset(x, y), 8))
    before = state(student)
    with distiller:
        for inputs, labels in loader:
            with accelerator.accumulate(model):
                accelerator.backward(distiller(inputs, F.cross_entropy(model(inputs), labels)))
                optimizer.step()
                optimizer.zero_grad()
    assert not same(student, before)
    assert distiller.step == 4


def test_what_is_missing_is_one_line():
    teacher, student, (x, y) = network(8), network(4), batch()
    with pytest.raises(BadInputError, match=r"hint has parts of its own: Distiller\(…, samples="):
        edgekd.Distiller(teacher, student, [edgekd.Hint({"2": "2"})])
    with pytest.raises(BadInputError, match="teacher and student are the same network"):
        edgekd.Distiller(student, nn.DataParallel(student), [edgekd.KD()])
    with edgekd.Distiller(teacher, student, [edgekd.KD()]) as distiller:
        with pytest.raises(BadInputError, match="the student has seen no batch"):
            distiller(x)
        with torch.no_grad():
            student(x)  # an evaluation on the way
        with pytest.raises(BadInputError, match="the student has seen no batch"):
            distiller(x)
    with edgekd.Distiller(teacher, student, [edgekd.Attention({"2": "7"})]) as distiller:
        student(x)
        with pytest.raises(BadInputError, match="no module '7' to tap"):
            distiller(x)
    for method, missing in ((edgekd.DKD(), "labels"), (edgekd.MultiTeacher(weighting="confidence"), "labels")):
        with edgekd.Distiller(teacher, student, [method]) as distiller:
            student(x)
            with pytest.raises(
                BadInputError, match=rf"needs {missing}: give it distiller\(inputs, loss, {missing}=…\)"
            ):
                distiller(x)
            student(x)
            assert distiller(x, labels=y).isfinite()
    with edgekd.Distiller(teacher, student, [edgekd.TAID()], samples=x) as distiller:
        student(x)
        with pytest.raises(BadInputError, match=r"needs total_steps: give it Distiller\(…, total_steps=…\)"):
            distiller(x)


class TwoHeads(nn.Module):
    """Returns something that is no tensor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return {"boxes": self.factor * x.mean((2, 3)), "scores": self.factor * x.flatten(1)}


def test_the_logits_may_be_named():
    x, _ = batch()
    student, teacher = TwoHeads(1.0), TwoHeads(3.0)
    for output, answer in (("scores", x), (0, x.mean((2, 3))), (None, x.mean((2, 3)))):
        with edgekd.Distiller(teacher, student, [edgekd.MSE()], output=output) as distiller:
            student(x)
            # A mean of float32 in another order.
            assert distiller(x).item() == pytest.approx((2 * answer).square().mean().item(), rel=1e-5)
    with edgekd.Distiller(teacher, student, [edgekd.MSE()], output="logits") as distiller:
        student(x)
        with pytest.raises(BadInputError, match="the student returns a dict: name its logits"):
            distiller(x)
