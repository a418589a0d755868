"""A training loop of one's own: `Distiller` adds the teacher's losses, `prepare` the arithmetic of the chip."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edgekd

TARGET = "x86-onnxruntime"


def examples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 16, 16) of eight patterns in noise."""
    patterns = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(9))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 8, (count,), generator=random)
    return patterns[labels] + 3 * torch.randn(count, 1, 16, 16, generator=random), labels


def network(width: int) -> nn.Sequential:
    """From images to logits."""
    first = [nn.Conv2d(1, width, 5, 2), nn.BatchNorm2d(width), nn.ReLU()]
    second = [nn.Conv2d(width, 2 * width, 3, 2), nn.BatchNorm2d(2 * width), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(8 * width, 8))


def fit(model: nn.Module, parameters: list, data: tuple[Tensor, Tensor], steps: int, loss_of: Callable) -> None:
    """A loop as everybody has one."""
    optimizer = torch.optim.AdamW([*model.parameters(), *parameters], 0.005)
    for step in range(steps):
        batch = torch.randint(0, len(data[0]), (64,))
        x, y = data[0][batch], data[1][batch]
        loss = loss_of(x, F.cross_entropy(model.train()(x), y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == steps // 2:
            edgekd.freeze_observers(model)  # a float network has none


def main(steps: int = 400, out: str = "bundles") -> float:
    """Return the accuracy of the proven int8 bundle."""
    torch.manual_seed(0)
    data, teacher, student = examples(2000, seed=0), network(32), network(4)
    fit(teacher, [], data, steps, lambda _, own_loss: own_loss)
    with edgekd.Distiller(teacher, student, [edgekd.KD(), edgekd.Hint({"5": "5"})], samples=data[0][:2]) as distiller:
        fit(student, list(distiller.parameters()), data, steps, distiller)
    prepared = edgekd.prepare(student, TARGET, samples=data)
    with edgekd.Distiller(teacher, prepared, [edgekd.KD()]) as distiller:
        fit(prepared, [], data, steps // 4, distiller)
    bundle = edgekd.export(prepared, TARGET, out, samples=data, name="own-loop")
    return edgekd.evaluate(bundle, examples(2000, seed=1), "accuracy").value


if __name__ == "__main__":
    print(f"accuracy in int8: {main():.1%}")
