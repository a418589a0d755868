"""Teachers whose classes come in another order than the data's."""

import numpy as np
import pytest
import torch
from torch import nn

import edgekd
from edgekd.errors import BadInputError

FEW = edgekd.Training(epochs=1, batch=16, precision="float32")


def arrays(count, seed):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return (3 * np.eye(3)[labels] + random.normal(size=(count, 3))).astype(np.float32), labels


def perfect(order):
    """A teacher of three classes, and of a fourth that never comes, in this order of outputs."""
    layer = nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4)[:, :3][order] - 0.5)
    return layer


def test_a_teacher_is_brought_to_the_order_of_the_data():
    torch.set_num_threads(1)
    data = arrays(120, 0), arrays(60, 1)
    names = ["2", "other", "0", "1"]
    teacher, (x, _) = perfect([2, 3, 0, 1]), data[1]
    mapped = edgekd.map_classes(teacher, names, data)
    x = torch.from_numpy(x)
    assert torch.equal(mapped(x), teacher(x)[:, [2, 3, 0]])
    assert torch.equal(edgekd.map_classes(teacher, names, ["0", "1", "2"])(x), mapped(x))
    student = edgekd.distill(mapped, nn.Linear(3, 3), data, training=FEW, cross_entropy=0.0)
    assert edgekd.compare(mapped, student, data).run["teacher"]["metric"]["mean"] > 0.9  # it is right but for the noise


def test_the_logits_among_several_outputs_are_mapped():
    class Named(nn.Linear):
        def forward(self, x):
            return {"hidden": x, "logits": super().forward(x)}

    teacher, x = Named(3, 2), torch.randn(5, 3)
    found = edgekd.map_classes(teacher, ["cat", "dog"], ["dog", "cat"])(x)
    assert torch.equal(found["logits"], teacher(x)["logits"].flip(1))
    assert torch.equal(found["hidden"], x)


def test_what_cannot_be_mapped_is_named():
    with pytest.raises(BadInputError, match="the teacher does not know 'birds'; did you mean 'bird'?"):
        edgekd.map_classes(nn.Linear(3, 2), ["bird", "cat"], ["cat", "birds"])
    with pytest.raises(BadInputError, match="the teacher has 'cat' twice"):
        edgekd.map_classes(nn.Linear(3, 2), ["cat", "cat"], ["cat"])
    with pytest.raises(BadInputError, match=r"values per sample, the teacher 4: .*edgekd.map_classes\(teacher"):
        data = arrays(60, 0), arrays(30, 1)
        edgekd.distill(perfect([0, 1, 2, 3]), nn.Linear(3, 3), data, training=FEW)
