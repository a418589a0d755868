"""Residual networks for small images (He et al., arXiv:1512.03385, section 4.2); depth 8 is MLPerf Tiny's."""

from torch import Tensor, nn

from edgekd.students._layers import classifier, conv_bn, initialise


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, outputs, stride=stride, activation=nn.ReLU)
        self.conv2 = conv_bn(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, kernel=1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        outputs: Tensor = self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))
        return outputs


class ResNet(nn.Module):
    """A stem, three stages of `blocks` that double the width and halve the image, and a linear classifier."""

    def __init__(self, classes: int, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        self.stem = conv_bn(channels, width, activation=nn.ReLU)
        self.stages = nn.Sequential(
            *(_stage(width * max(1, 2 ** (i - 1)), width * 2**i, blocks, stride=1 if i == 0 else 2) for i in range(3))
        )
        self.head = classifier(4 * width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


def build(classes: int, channels: int, depth: int = 8, width: int = 16) -> nn.Module:
    """ResNet of `depth` = 6n + 2 layers; raises ValueError for another depth."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth {depth} is not 6n + 2 (8, 14, 20, 26, 32, …)")
    return ResNet(classes, channels, depth // 6, width)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
