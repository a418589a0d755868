"""AP as COCO's: the mean over classes and over IoUs of 0.50 to 0.95 of precision at 101 recalls."""

import numpy as np

from edgekd.metrics._base import Metric
from edgekd.metrics._boxes import TAKES, average_precision, held

IOUS = np.linspace(0.5, 0.95, 10).tolist()


def metric() -> Metric:
    """Return it, of boxes (N, K, 6), x1, y1, x2, y2, score and class, and labels (N, M, 5); class -1 is no box."""
    return Metric("ap", lambda boxes, labels: held(boxes, labels, IOUS), average_precision, takes=TAKES)
