"""Networks whose outputs are maps: a U-Net (Ronneberger et al., arXiv:1505.04597) and an SSD (arXiv:1512.02325)."""

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Three scales; one way up is a transposed convolution, the other a bilinear resize."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = conv(3, width), conv(width, 2 * width, 2)
        self.bottom = nn.Sequential(conv(2 * width, 4 * width, 2), conv(4 * width, 4 * width))
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.join2 = conv(4 * width, 2 * width)
        self.up1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.join1 = conv(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to one score per class and pixel, (N, classes, H, W)."""
        fine = self.down1(x)
        middle = self.down2(fine)
        middle = self.join2(torch.cat([self.up2(self.bottom(middle)), middle], dim=1))
        scores: Tensor = self.head(self.join1(torch.cat([self.up1(middle), fine], dim=1)))
        return scores


class SSD(nn.Module):
    """A small backbone with a detection head at two scales."""

    def __init__(self, classes: int, anchors: int = 3, width: int = 16) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = nn.Sequential(conv(3, width, 2), conv(width, 2 * width, 2), conv(2 * width, 2 * width))
        self.extra = conv(2 * width, 4 * width, 2)
        self.scores = nn.ModuleList(nn.Conv2d(size * width, anchors * classes, 3, 1, 1) for size in (2, 4))
        self.boxes = nn.ModuleList(nn.Conv2d(size * width, anchors * 4, 3, 1, 1) for size in (2, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) to scores (N, A, classes) and box offsets (N, A, 4)."""
        fine = self.backbone(x)
        maps = (fine, self.extra(fine))
        scores = [_rows(head(each), self.classes) for head, each in zip(self.scores, maps, strict=True)]
        boxes = [_rows(head(each), 4) for head, each in zip(self.boxes, maps, strict=True)]
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1)


def _rows(x: Tensor, width: int) -> Tensor:
    """(N, anchors · width, H, W) to (N, H · W · anchors, width)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)
