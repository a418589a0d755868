"""MobileNetV3-small (Howard et al., arXiv:1905.02244): h-swish, squeeze-and-excitation."""

from torch import Tensor, nn

# kernel, expanded, outputs, squeeze-excite, h-swish (else ReLU), stride
BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def conv(inputs: int, outputs: int, kernel: int, act: nn.Module | None, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, batch norm and, if given, an activation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([act] if act else []))


class SqueezeExcite(nn.Module):
    """Channels scaled by what the whole map says of them (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, channels // 4 // 8 * 8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.relu, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), same."""
        result: Tensor = x * self.gate(self.expand(self.relu(self.reduce(self.pool(x)))))
        return result


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, perhaps squeeze-and-excitation, projection; a skip where the shape is kept."""

    def __init__(
        self, inputs: int, kernel: int, hidden: int, outputs: int, excite: bool, swish: bool, stride: int
    ) -> None:
        super().__init__()
        kind = nn.Hardswish if swish else nn.ReLU
        layers = [conv(inputs, hidden, 1, kind())] if hidden != inputs else []
        layers.append(conv(hidden, hidden, kernel, kind(), stride, groups=hidden))
        layers += [SqueezeExcite(hidden)] if excite else []
        self.branch = nn.Sequential(*layers, conv(hidden, outputs, 1, None))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        result: Tensor = self.branch(x)
        return x + result if self.skip else result


class MobileNetV3Small(nn.Module):
    """A stem, eleven blocks, a last convolution and a classifier of two layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, nn.Hardswish(), stride=2)
        inputs, blocks = 16, []
        for kernel, hidden, outputs, excite, swish, stride in BLOCKS:
            blocks.append(InvertedResidual(inputs, kernel, hidden, outputs, excite, swish, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = conv(96, 576, 1, nn.Hardswish())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden, self.act, self.dropout = nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, classes)."""
        x = self.pool(self.last(self.blocks(self.stem(x)))).flatten(1)
        logits: Tensor = self.fc(self.dropout(self.act(self.hidden(x))))
        return logits
