"""Methods for dense outputs train a tiny detector's head from their names and the parameters of a recipe."""

import pytest
import torch
from torch import nn

from edgekd import Distiller
from edgekd.distillation import load_methods

TABLE = {
    "cwd": {"layers": {"classes": "classes"}},
    "pkd": {"layers": {"neck": "neck"}},
    "ld": {"layers": {"boxes": "boxes"}, "scores": ["classes"], "bins": 5, "temperature": 2.0, "weight": 0.25},
}


class Head(nn.Module):
    """Class and box maps; the neck has the same channels at any width."""

    def __init__(self, width):
        super().__init__()
        torch.manual_seed(width)
        self.stem, self.neck = nn.Conv2d(1, width, 3, 2), nn.Conv2d(width, 8, 3)
        self.classes, self.boxes = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 20, 1)

    def forward(self, x):
        x = torch.relu(self.neck(torch.relu(self.stem(x))))
        return self.classes(x), self.boxes(x)


@pytest.mark.parametrize("name", TABLE)
def test_its_own_term_falls_when_it_alone_is_trained(name):
    teacher, student = Head(8), Head(4)
    optimizer, x = torch.optim.AdamW(student.parameters(), 0.01), torch.randn(16, 1, 12, 12)
    terms = []
    with Distiller(teacher, student, load_methods([{"method": name, **TABLE[name]}])) as distiller:
        for _ in range(20):
            student(x)
            optimizer.zero_grad()
            distiller(x).backward()
            optimizer.step()
            terms.append(distiller.terms[name].item())
    assert terms[-1] < 0.8 * terms[0]
