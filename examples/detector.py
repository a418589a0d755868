"""Find things and their boxes: a detector with a loss of its own, from a large one to a small one in int8, by mAP."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edgekd
from edgekd.tasks.detection import Detection


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 64, 64) with a square (0) and a disc (1) on noise, and their boxes and classes (N, 2, 5)."""
    random = np.random.default_rng(seed)
    middle, half = random.uniform(12, 52, (count, 2, 2)), random.uniform(5, 12, (count, 2, 1))
    apart = np.abs(np.mgrid[:64, :64] + 0.5 - middle[:, :, ::-1, None, None])
    square, disc = apart[:, 0].max(1) < half[:, 0, None], np.hypot(*apart[:, 1].swapaxes(0, 1)) < half[:, 1, None]
    palette = np.array([[90, 100, 110], [150, 120, 90], [130, 140, 90]])
    images = palette[np.where(disc, 2, square)].transpose(0, 3, 1, 2) + random.normal(0, 30, (count, 3, 64, 64))
    classes = np.broadcast_to([[[0], [1]]], (count, 2, 1))
    return images.clip(0, 255).astype(np.uint8), np.concatenate([middle - half, middle + half, classes], axis=2)


class Boxes(Detection):
    """Cells of eight pixels, as the task decodes them, with cross-entropy for the centres."""

    def loss(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Outputs (N, 2 + 4, 8, 8): two logits, width, height, and where in its cell the centre is."""
        middle, size = (labels[..., :2] + labels[..., 2:4]) / 16, (labels[..., 2:4] - labels[..., :2]) / 8
        x, y = middle.long().unbind(2)
        sample, there = torch.arange(len(labels))[:, None], torch.zeros_like(outputs[:, :2])
        there[sample, labels[..., 4].long(), y, x] = 1
        centre = F.binary_cross_entropy_with_logits(outputs[:, :2], there, pos_weight=torch.tensor(8.0))
        return {"centre": 10 * centre, "box": F.l1_loss(outputs[sample, 2:, y, x], torch.cat([size, middle % 1], 2))}


def detector(width: int) -> nn.Sequential:
    """Three halvings as everybody has them, and a head."""
    layers: list[nn.Module] = []
    sizes = (3, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)
    for inputs, outputs, stride in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(4 * width, 6, 1))


def main(epochs: int = 8, out: str = "bundles", count: int = 1000) -> float:
    """Return the mean average precision of the int8 bundle."""
    torch.manual_seed(0)
    data, task = (scenes(count, 0), scenes(200, 1)), Boxes(metric_name="ap")
    training = edgekd.Training(epochs=epochs, batch=16, optimizer="adamw", learning_rate=0.005)
    teacher = edgekd.train(detector(12), data, task=task, training=training, augmentation=["flip"])
    student = edgekd.distill(teacher, detector(6), data, task=task, training=training, cross_entropy=1.0)
    quantized = edgekd.quantize(student, "int8-asymmetric", data, task=task, training=None)
    bundle = edgekd.export(quantized, "x86-onnxruntime", out, name="scenes")
    return edgekd.evaluate(bundle, data[1], metric=task.metric).value


if __name__ == "__main__":
    print(f"mAP in int8: {main():.1%}")
