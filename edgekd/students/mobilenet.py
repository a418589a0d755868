"""MobileNetV2 (Sandler et al., arXiv:1801.04381) with the strides of small images."""

from torch import Tensor, nn

from edgekd.students._layers import classifier, conv_bn, initialise

STAGES = (  # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1×1 expansion, 3×3 depthwise, linear 1×1 projection; a skip where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [conv_bn(inputs, hidden, kernel=1, activation=nn.ReLU6)] if expansion > 1 else []
        self.branch = nn.Sequential(
            *expand,
            conv_bn(hidden, hidden, stride=stride, groups=hidden, activation=nn.ReLU6),
            conv_bn(hidden, outputs, kernel=1),
        )
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        outputs: Tensor = self.branch(x)
        return x + outputs if self.skip else outputs


class MobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, a last 1×1 convolution and a linear classifier."""

    def __init__(self, classes: int, channels: int, width: float) -> None:
        super().__init__()
        inputs = _rounded(32 * width)
        self.stem = conv_bn(channels, inputs, activation=nn.ReLU6)
        stages = []
        for expansion, outputs, blocks, stride in STAGES:
            stages.append(_stage(inputs, inputs := _rounded(outputs * width), expansion, blocks, stride))
        self.stages = nn.Sequential(*stages)
        features = _rounded(1280 * width)
        self.last = conv_bn(inputs, features, kernel=1, activation=nn.ReLU6)
        self.head = classifier(features, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.last(self.stages(self.stem(x))))
        return logits


def build(classes: int, channels: int, width: float = 1.0) -> nn.Module:
    """MobileNetV2 whose channels are multiplied by `width` and rounded to multiples of 8."""
    if width <= 0:
        raise ValueError(f"width {width} is not positive")
    return MobileNetV2(classes, channels, width)


def _stage(inputs: int, outputs: int, expansion: int, blocks: int, stride: int) -> nn.Sequential:
    first = InvertedResidual(inputs, outputs, expansion, stride)
    return nn.Sequential(first, *(InvertedResidual(outputs, outputs, expansion, 1) for _ in range(blocks - 1)))


def _rounded(channels: float) -> int:
    return max(8, round(channels / 8) * 8)
