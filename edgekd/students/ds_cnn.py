"""Depthwise-separable CNN for small images and spectrograms (Zhang et al., arXiv:1711.07128)."""

from torch import Tensor, nn

from edgekd.students._layers import classifier, conv_bn, initialise


class DSCNN(nn.Module):
    """A strided stem, equal stages of one 3×3 depthwise and one 1×1 convolution, and a linear classifier."""

    def __init__(self, classes: int, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = conv_bn(channels, width, stride=2, activation=nn.ReLU)
        self.stages = nn.Sequential(*(_separable(width) for _ in range(blocks)))
        self.head = classifier(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


def build(classes: int, channels: int, width: int = 64, blocks: int = 4) -> nn.Module:
    """DS-CNN of `blocks` separable convolutions, all `width` channels wide."""
    return DSCNN(classes, channels, width, blocks)


def _separable(width: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn(width, width, groups=width, activation=nn.ReLU),
        conv_bn(width, width, kernel=1, activation=nn.ReLU),
    )
