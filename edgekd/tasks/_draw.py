"""Labels drawn into an image (H, W, 3) uint8, each class in a colour of its own."""

import numpy as np

from edgekd.tasks._base import Array

# Okabe and Ito's, which people who see few colours tell apart.
COLOURS = np.array([
    (213, 94, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115), (204, 121, 167), (0, 114, 178), (230, 159, 0),
], np.uint8)  # fmt: skip


def with_boxes(image: Array, boxes: Array) -> Array:
    """Return it with the outlines of boxes (m, 5): x1, y1, x2, y2 and the class; class -1 is no box."""
    drawn, limit = image.copy(), np.array(image.shape[1::-1]) - 1
    thickness = 1 + min(image.shape[:2]) // 256
    for box in boxes[boxes[:, 4] >= 0]:
        (left, top), (right, bottom) = np.rint([box[:2], box[2:4] - 1]).clip(0, limit).astype(int)
        colour = COLOURS[int(box[4]) % len(COLOURS)]
        inside = np.s_[top + thickness : bottom + 1 - thickness, left + thickness : right + 1 - thickness]
        kept = drawn[inside].copy()
        drawn[top : bottom + 1, left : right + 1] = colour
        drawn[inside] = kept
    return drawn


def with_classes(image: Array, classes: Array, seen: Array) -> Array:
    """Return it with the class (H, W) of each pixel that is `seen` (H, W) as half of its colour."""
    blended = (image.astype(np.uint16) + COLOURS[classes.astype(np.int64) % len(COLOURS)]) // 2
    return np.where(seen[..., None], blended, image).astype(np.uint8)
