"""Networks with several outputs: what a task, a method and a metric read of them, live, from the cache, in files."""

from collections import namedtuple
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgekd
from edgekd.backends.reference import Reference
from edgekd.data import as_dataset, prepare
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.metrics import accuracy, macro_f1, mae
from edgekd.outputs import chosen
from edgekd.tasks import Task
from edgekd.training import predict
from tests.tasks.nets import FINE, QUICK

Pair = namedtuple("Pair", ["size", "marks"])


class Sizes(Task):
    """Labels (N, 3): a number, then two marks."""

    reads = ("size", "marks")
    metrics = mae.metric().of("size", slice(0, 1)), macro_f1.metric().of("marks", slice(1, 3))

    def loss(self, outputs, labels):
        marks = F.binary_cross_entropy_with_logits(outputs["marks"], labels[:, 1:])
        return {"size": F.mse_loss(outputs["size"], labels[:, :1]), "marks": marks}

    def constant(self, labels):
        return {"size": labels[:, :1].mean(0), "marks": np.ones(2)}

    def decide(self, outputs):
        return np.hstack([outputs["size"], outputs["marks"] > 0])


@dataclass
class Answer:
    """As networks of others return it."""

    size: torch.Tensor
    marks: torch.Tensor
    hidden: torch.Tensor | None = None


class Net(nn.Module):
    """(N, 1, 6, 6) to a number and two marks, put out as `form` has it."""

    def __init__(self, width, form=dict, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.ReLU())
        self.size, self.marks, self.form = nn.Linear(width, 1), nn.Linear(width, 2), form

    def forward(self, x):
        x = self.trunk(x)
        return self.form(size=self.size(x), marks=self.marks(x))


def arrays(count, seed):
    random = np.random.default_rng(seed)
    images, marks = random.random((count, 1, 6, 6), np.float32), random.random((count, 2)) < 0.5
    images[:, 0, 0, :2] += marks
    return images, np.hstack([images.mean((1, 2, 3))[:, None], marks])


@pytest.fixture(scope="module")
def data():
    return as_dataset((arrays(200, 0), arrays(60, 1)), task=Sizes())


@pytest.fixture(scope="module")
def teacher(data):
    return edgekd.train(Net(24), data, training=QUICK)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("form", [Pair, Answer])
def test_a_network_learns_the_same_whatever_holds_its_outputs(data, teacher, form):
    students = [edgekd.distill(teacher, Net(6, kind), data, training=FINE) for kind in (dict, form)]
    assert torch.equal(*map(weights, students))
    assert edgekd.compare(teacher, students[1], data).run["other_scales"][0]["name"] == "marks_macro_f1"


def test_one_tensor_in_a_dictionary_teaches_as_one_alone():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    images, labels = arrays(100, 0)
    both = (images, labels[:, 1].astype(int)), (images[:40], labels[:40, 1].astype(int))

    class Held(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return {"hidden": x, "logits": self.net(x)}

    held = Held(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)))
    held.net.load_state_dict(plain.state_dict())
    for model in (plain, held):
        edgekd.train(model, both, training=FINE)
    assert torch.equal(weights(plain), weights(held))


def test_methods_read_the_output_that_they_name_the_same_from_the_cache(data, teacher, tmp_path, monkeypatch):
    losses = [edgekd.MSE(output="size", weight=20.0), edgekd.KD(output="marks"), edgekd.Hint({"trunk.1": "trunk.1"})]
    cached = edgekd.distill(teacher, Net(6), data, losses, training=FINE, folder=tmp_path)
    stored = {path.name: np.load(path) for path in next((tmp_path / "answers").iterdir()).glob("view-0/*.npy")}
    assert {name: array.shape[1] for name, array in stored.items()} == {
        "logits.npy": 1, "output-0.npy": 2, "feature-0.npy": 24,
    }  # fmt: skip
    asked = chosen(predict(teacher, data, data.train), ("size", "marks"), "test")
    # where the processor has it the teacher computes in bfloat16: 8 bits, of numbers around 1
    np.testing.assert_allclose(stored["output-0.npy"], asked["marks"], rtol=2**-6, atol=2**-6)
    monkeypatch.setattr(edgekd.training.CachedTeacher, "_why_live", lambda *_: "asked live")
    live = edgekd.distill(teacher, Net(6), data, losses, training=FINE)
    assert torch.allclose(weights(cached), weights(live), atol=1e-3)  # by what half precision leaves out
    without = edgekd.distill(teacher, Net(6), data, losses[1:], training=FINE)
    assert not torch.allclose(weights(without), weights(live), atol=2e-3)


def test_distiller_reads_named_outputs_too(teacher):
    student, (x, _) = Net(6), arrays(16, 3)
    x = torch.from_numpy(x)
    with edgekd.Distiller(teacher, student, [edgekd.MSE(output="marks")]) as distiller:
        ours, theirs = student(x)["marks"], teacher(x)["marks"].detach()
        assert distiller(x).item() == pytest.approx(F.mse_loss(ours, theirs).item(), rel=1e-6)  # float32 sums


@pytest.mark.slow  # so is that of examples/two_heads.py, among the default tests
def test_the_quantised_graph_is_scored_by_the_tasks_own_metrics(data, teacher):
    int8 = edgekd.quantize(teacher, "int8-asymmetric", data, training=None)
    outputs = Reference(int8.graph).run({"input": prepare(data.test.inputs, data.preprocessing)}, batch=60)
    floats = predict(teacher, data, data.test)
    for metric in Sizes.metrics:
        # eight bits of a network that is right nearly always
        assert metric(outputs, data.test.labels) == pytest.approx(metric(floats, data.test.labels), abs=0.05)


def test_what_is_missing_is_said_in_one_line(data, teacher):
    lacking = Net(6, lambda size, marks: {"size": size})
    with pytest.raises(BadInputError, match="the model puts out 'size'; Sizes reads 'marks': let its forward return"):
        edgekd.train(lacking, data, training=FINE)
    with pytest.raises(BadInputError, match="mse compares one output, the task reads size, marks: name one, output ="):
        edgekd.distill(teacher, Net(6), data, [edgekd.MSE()], training=FINE)
    with pytest.raises(BadInputError, match="the student puts out 'size', 'marks'; a method reads 'mark'"):
        edgekd.distill(Net(9, with_a_mark), Net(6), data, [edgekd.MSE(output="mark")], training=FINE)
    with pytest.raises(BadInputError, match="metric 'far_accuracy' reads 'far'"):
        accuracy.metric().of("far", 0)(predict(teacher, data, data.test), data.test.labels)
    with pytest.raises(BadInputError, match="Undecided has no decide"):
        edgekd.compare(teacher, teacher, replace(data, task=Undecided()))


def with_a_mark(size, marks):
    """One output more than the student has."""
    return {"size": size, "marks": marks, "mark": marks[:, :1]}


class Undecided(Sizes):
    """One that says nothing of agreement."""

    decide = Task.decide


def test_a_metric_that_is_no_number_ends_the_training_in_one_line(data):
    class Lost(Sizes):
        metrics = (replace(Sizes.metrics[0], score=lambda rows: float("nan")),)

    with pytest.raises(PromiseBrokenError, match="training diverged .* size_mae on validation is nan"):
        edgekd.train(Net(6), replace(data, task=Lost()), training=FINE)
