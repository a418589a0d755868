"""AP50: average precision of boxes that count as right from half the union on (IoU 0.5), the mean over classes."""

from edgekd.metrics._base import Metric
from edgekd.metrics._boxes import TAKES, average_precision, held


def metric(iou: float = 0.5) -> Metric:
    """Return it, or that of another IoU, of boxes (N, K, 6) and labels (N, M, 5) as `ap` takes them."""
    return Metric(
        f"ap{100 * iou:.0f}", lambda boxes, labels: held(boxes, labels, [iou]), average_precision, takes=TAKES
    )
