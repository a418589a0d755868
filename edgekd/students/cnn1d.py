"""1-D CNN for sensor windows: a fully convolutional network (Wang et al., arXiv:1611.06455), strided to be small."""

from torch import Tensor, nn

from edgekd.students._layers import initialise


class CNN1D(nn.Module):
    """One stage per width, each of which halves the time, and a linear classifier over the mean of what remains."""

    def __init__(self, classes: int, channels: int, widths: list[int], kernel: int) -> None:
        super().__init__()
        inputs = [channels, *widths]
        self.stages = nn.Sequential(
            *(_stage(before, after, kernel) for before, after in zip(inputs, widths, strict=False))
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, time) to logits (N, classes)."""
        logits: Tensor = self.head(self.stages(x))
        return logits


def build(classes: int, channels: int, width: int = 16, blocks: int = 3, kernel: int = 5) -> nn.Module:
    """`blocks` stages that halve the time, the first `width` channels wide, the others twice that."""
    if blocks < 1 or width < 1 or kernel % 2 == 0:
        raise ValueError(f"blocks {blocks} and width {width} must be positive, kernel {kernel} odd")
    return CNN1D(classes, channels, [width] + [2 * width] * (blocks - 1), kernel)


def _stage(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )
