"""ResNet-18 and -50 (He et al., arXiv:1512.03385)."""

from torch import Tensor, nn

STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    padding = kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1 where `bottleneck`, beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            layers = [conv(inputs, width, 1), nn.ReLU(inplace=True), conv(width, width, 3, stride)]
        else:
            layers = [conv(inputs, width, 3, stride)]
        last = conv(width, outputs, 1 if bottleneck else 3)
        self.branch = nn.Sequential(*layers, nn.ReLU(inplace=True), last)
        self.shortcut = None if stride == 1 and inputs == outputs else conv(inputs, outputs, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y = self.branch(x)
        y += x if self.shortcut is None else self.shortcut(x)
        result: Tensor = self.relu(y)
        return result


class ResNet(nn.Module):
    """A 7×7 stem, four stages and a linear classifier."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        bottleneck = depth >= 50
        self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        inputs = 64
        for stage, count in enumerate(STAGES[depth]):
            width = 64 * 2**stage
            for block in range(count):
                blocks.append(Block(inputs, width, 2 if stage and not block else 1, bottleneck))
                inputs = 4 * width if bottleneck else width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, classes)."""
        logits: Tensor = self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits
