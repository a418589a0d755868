"""Find things in a picture: a class for each pixel, from a large U-Net to a small one in int8, scored by mIoU."""

import numpy as np
import torch
from torch import Tensor, nn

import edgekd


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) with a square (1) and a disc (2) on noise (0), and each pixel's class (N, 32, 32)."""
    random = np.random.default_rng(seed)
    apart = np.mgrid[:32, :32] - random.integers(6, 26, (count, 2, 2, 1, 1))
    square, disc = np.abs(apart[:, 0]).max(1) < 5, np.hypot(apart[:, 1, 0], apart[:, 1, 1]) < 6
    labels = np.where(disc, 2, square).astype(np.uint8)
    palette = np.array([[90, 100, 110], [150, 120, 90], [130, 140, 90]])
    images = palette[labels].transpose(0, 3, 1, 2) + random.normal(0, 40, (count, 3, 32, 32))
    return images.clip(0, 255).astype(np.uint8), labels


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution as everybody has one."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Down twice and up again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.three = block(3, width), block(width, 2 * width), block(2 * width, 2 * width)
        self.up, self.head, self.pool = nn.Upsample(scale_factor=2), nn.Conv2d(5 * width, 3, 1), nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 3, H, W)."""
        one = self.one(images)
        two = self.two(self.pool(one))
        three = self.up(self.three(self.pool(two)))
        return self.head(torch.cat([one, self.up(torch.cat([two, three], 1))], 1))


def main(epochs: int = 6, out: str = "bundles", count: int = 1200) -> float:
    """Return the mean intersection over union of the int8 bundle."""
    torch.manual_seed(0)
    data = scenes(count, 0), scenes(200, 1)
    training = edgekd.Training(epochs=epochs, batch=32, optimizer="adamw", learning_rate=0.01)
    teacher = edgekd.train(UNet(16), data, task="segmentation", training=training, augmentation=["flip"])
    student = edgekd.distill(teacher, UNet(4), data, [edgekd.KD()], task="segmentation", training=training)
    fine = edgekd.Training(epochs=1, batch=32, learning_rate=0.003, precision="float32")
    quantized = edgekd.quantize(student, "int8-asymmetric", data, teacher, task="segmentation", training=fine)
    bundle = edgekd.export(quantized, "x86-onnxruntime", out, name="scenes")
    return edgekd.evaluate(bundle, data[1]).value


if __name__ == "__main__":
    print(f"mIoU in int8: {main():.1%}")
