"""Two heads and a task of one's own: a level and which lamps shine, from a large network to int8 on three runtimes."""

import numpy as np
import torch
from torch import Tensor, nn

import edgekd
from edgekd.metrics import macro_f1, mae
from edgekd.tasks import Task


class Panel(Task):
    """Labels (N, 4): the level from 0 to 1, then whether each of three lamps shines."""

    reads = ("level", "lamps")
    metrics = mae.metric().of("level", slice(0, 1)), macro_f1.metric().of("lamps", slice(1, 4))

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return each head's."""
        wrong = nn.functional.binary_cross_entropy_with_logits(outputs["lamps"], labels[:, 1:])
        return {"level": nn.functional.mse_loss(outputs["level"], labels[:, :1]), "lamps": wrong}

    def constant(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return what serves best without looking: the mean level, and yes to every lamp."""
        return {"level": labels[:, :1].mean(axis=0), "lamps": np.ones(3)}


def panels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 1, 16, 16) of a column with three lamps beside it, under noise, and their labels."""
    random = np.random.default_rng(seed)
    level, lamps = random.random((count, 1)), random.random((count, 3)) < 0.5
    images = random.integers(0, 120, (count, 1, 16, 16), dtype=np.uint8)
    images[:, 0, :, :4] += 100 * (np.arange(16) < 16 * level)[..., None].astype(np.uint8)
    images[:, 0, 6:10, 4:] += 100 * np.repeat(lamps, 4, axis=1)[:, None].astype(np.uint8)
    return images, np.hstack([level, lamps])


class Reader(nn.Module):
    """One trunk, and a head for each output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())
        self.level, self.lamps = nn.Linear(16 * width, 1), nn.Linear(16 * width, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 1) and (N, 3)."""
        features = self.trunk(images)
        return {"level": self.level(features), "lamps": self.lamps(features)}


def main(epochs: int = 8, out: str = "bundles", count: int = 2000) -> list[list[float]]:
    """Return the error of the level and the F1 of the lamps of the int8 bundle of each runtime."""
    torch.manual_seed(0)
    data = panels(count, 0), panels(500, 1)
    training = edgekd.Training(epochs=epochs, batch=32, optimizer="adamw", learning_rate=0.01)
    teacher = edgekd.train(Reader(32), data, task=Panel(), training=training)
    student = edgekd.distill(teacher, Reader(4), data, task=Panel(), training=training, cross_entropy=1.0)
    int8 = edgekd.quantize(student, "int8-asymmetric", data, task=Panel(), training=None)
    bundles = [edgekd.export(int8, f"x86-{name}", out, name="panel") for name in ("onnxruntime", "tflite", "openvino")]
    return [[edgekd.evaluate(bundle, data[1], metric).value for metric in Panel.metrics] for bundle in bundles]


if __name__ == "__main__":
    print("error of the level, F1 of the lamps on three runtimes:", *main())
