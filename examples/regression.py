"""Read a gauge: the angle of a needle, in degrees, from a large network to a proven int8 bundle."""

import numpy as np
import torch
from torch import nn

import edgekd
from edgekd.tasks.regression import Regression

TASK = Regression(unit="°")


def gauges(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 1, 24, 24) of a needle under noise, and its angle (N,) from 0 to 90."""
    random = np.random.default_rng(seed)
    angle, reach = random.uniform(0, 90, count), np.arange(4, 20, 0.5)
    x, y = (np.round(f(np.radians(angle))[:, None] * reach).astype(int) for f in (np.cos, np.sin))
    images = random.integers(0, 120, (count, 1, 24, 24), dtype=np.uint8)
    images[np.arange(count)[:, None], 0, y, x] = 255
    return images, angle


def network(width: int) -> nn.Sequential:
    """From images to an angle (N, 1)."""
    layers = [nn.Conv2d(1, width, 5, 2), nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.Conv2d(width, 2 * width, 3, 2), nn.BatchNorm2d(2 * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * width, 1))


def main(epochs: int = 12, out: str = "bundles", count: int = 3000) -> float:
    """Return the root mean squared error of the int8 bundle, in degrees."""
    torch.manual_seed(0)
    data = gauges(count, 0), gauges(500, 1)
    training = edgekd.Training(epochs=epochs, batch=32, optimizer="adamw", learning_rate=0.01)
    teacher = edgekd.train(network(24), data, task=TASK, training=training)
    student = edgekd.distill(teacher, network(4), data, task=TASK, training=training, cross_entropy=1.0)
    fine = edgekd.Training(epochs=2, batch=32, optimizer="adamw", learning_rate=0.001, precision="float32")
    quantized = edgekd.quantize(student, "int8-asymmetric", data, teacher, training=fine, cross_entropy=1.0, task=TASK)
    bundle = edgekd.export(quantized, "x86-onnxruntime", out, name="gauge")
    return edgekd.evaluate(bundle, data[1]).value


if __name__ == "__main__":
    print(f"RMSE in int8: {main():.2f}°")
