"""How near a quantised network's answers are to the float one's, in the words of its task; five ways."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array

Answers = Sequence[dict[str, Array]]  # one a sample, by output name, without a batch
SAME_BOX, OVERLAP = 0.5, 0.5
MOST_BOXES = 200


def compare(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Return `agreement`, from 0 to 1, or `db`, and what it is made of. Raises BadInputError for an unknown way."""
    if how["way"] not in WAYS:
        raise BadInputError(f"unknown comparator {how['way']!r}: there is {', '.join(WAYS)}")
    return WAYS[how["way"]](wanted, given, how)


def boxes(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Boxes of the float network that are found again, with the same class and an IoU of 0.5; F1, so invented count."""
    decode = DECODERS[how["decoder"]]
    matched = total = found = 0
    for real, ours in zip(wanted, given, strict=True):
        truth, guess = (_kept(*decode(each, how), how["least"]) for each in (real, ours))
        matched, total, found = matched + _matches(truth, guess), total + len(truth), found + len(guess)
    agreement = 2 * matched / (total + found) if total + found else 1.0
    return {"agreement": agreement, "boxes": total, "matched": matched, "invented": found - matched}


def text(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Samples whose text, the likeliest class at each place with repeats and blanks taken out, is the same."""
    same = [_read(real[how["output"]]) == _read(ours[how["output"]]) for real, ours in zip(wanted, given, strict=True)]
    return {
        "agreement": float(np.mean(same)),
        "lengths": float(np.mean([len(_read(each[how["output"]])) for each in wanted])),
    }


def classes(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Places with the same class: the likeliest of several, or whether one number is over `threshold`."""
    pairs = [(_classes(real, how), _classes(ours, how)) for real, ours in zip(wanted, given, strict=True)]
    truth, guess = (np.concatenate([each.reshape(-1) for each in side]) for side in zip(*pairs, strict=True))
    return {"agreement": float(np.mean(truth == guess)), "kinds": len(np.unique(truth))}


def mask(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Intersection over union of what is over `threshold`, over all samples."""
    pairs = [(real[how["output"]] > how["threshold"], ours[how["output"]] > how["threshold"])
             for real, ours in zip(wanted, given, strict=True)]  # fmt: skip
    both, either = (sum(int(np.sum(join(*pair))) for pair in pairs) for join in (np.logical_and, np.logical_or))
    return {
        "agreement": both / either if either else 1.0,
        "share": float(np.mean([np.mean(real) for real, _ in pairs])),
    }


def decibel(wanted: Answers, given: Answers, how: dict[str, Any]) -> dict[str, float]:
    """Signal to noise of one output, dB."""
    signal = sum(float(np.sum(real[how["output"]].astype(float) ** 2)) for real in wanted)
    noise = sum(
        float(np.sum((real[how["output"]].astype(float) - ours[how["output"]]) ** 2))
        for real, ours in zip(wanted, given, strict=True)
    )
    return {"db": min(120.0, 10 * float(np.log10(signal / noise))) if signal and noise else 120.0}


def _classes(answer: dict[str, Array], how: dict[str, Any]) -> Array:
    values = answer[how["output"]]
    return values > how["threshold"] if "threshold" in how else values.argmax(-1)


def _read(values: Array) -> list[int]:
    likeliest = values.reshape(-1, values.shape[-1]).argmax(-1)
    return [int(one) for one, before in zip(likeliest, [0, *likeliest[:-1]], strict=True) if one and one != before]


def _yolov8(answer: dict[str, Array], how: dict[str, Any]) -> tuple[Array, Array]:
    """Boxes (N, 4) as corners and scores (N, classes)."""
    rows = answer[how["output"]].T
    return _corners(rows[:, :4]), rows[:, 4:]


def _yolox(answer: dict[str, Array], how: dict[str, Any]) -> tuple[Array, Array]:
    rows = answer[how["output"]]
    strides = [(step, how["size"] // step) for step in (8, 16, 32)]
    grid = np.concatenate([np.stack(np.meshgrid(range(side), range(side)), -1).reshape(-1, 2) for _, side in strides])
    stride = np.concatenate([np.full((side * side, 1), step) for step, side in strides])
    centred = np.concatenate([(rows[:, :2] + grid) * stride, np.exp(np.clip(rows[:, 2:4], -20, 20)) * stride], axis=1)
    return _corners(centred), rows[:, 4:5] * rows[:, 5:]


def _picodet(answer: dict[str, Array], how: dict[str, Any]) -> tuple[Array, Array]:
    """Scores and distances in eight bins for each of four strides."""
    found, scores = [], []
    for step, score, distances in zip((8, 16, 32, 64), how["scores"], how["distances"], strict=True):
        rows, columns = -(-how["height"] // step), -(-how["width"] // step)
        middle = np.stack(np.meshgrid(range(columns), range(rows)), -1).reshape(-1, 2) + 0.5
        spread = np.exp(
            answer[distances].reshape(-1, 4, 8) - answer[distances].reshape(-1, 4, 8).max(-1, keepdims=True)
        )
        reach = (spread / spread.sum(-1, keepdims=True)) @ np.arange(8)
        found.append(np.concatenate([middle - reach[:, :2], middle + reach[:, 2:]], axis=1) * step)
        scores.append(answer[score])
    return np.concatenate(found), np.concatenate(scores)


def _corners(centred: Array) -> Array:
    return np.concatenate([centred[:, :2] - centred[:, 2:4] / 2, centred[:, :2] + centred[:, 2:4] / 2], axis=1)


def _kept(corners: Array, scores: Array, least: float) -> list[tuple[int, Array]]:
    """Class and corners of what is likelier than `least`, without what overlaps a likelier one of its class."""
    best, kinds = scores.max(1), scores.argmax(1)
    order = [row for row in np.argsort(-best, kind="stable")[:MOST_BOXES] if best[row] > least]
    kept: list[tuple[int, Array]] = []
    for row in order:
        if all(kind != kinds[row] or _iou(box, corners[row]) <= OVERLAP for kind, box in kept):
            kept.append((int(kinds[row]), corners[row]))
    return kept


def _matches(truth: list[tuple[int, Array]], guess: list[tuple[int, Array]]) -> int:
    left, count = list(guess), 0
    for kind, box in truth:
        near = [(_iou(box, other), at) for at, (mine, other) in enumerate(left) if mine == kind]
        overlap, at = max(near, default=(0.0, -1))
        if overlap >= SAME_BOX:
            count += 1
            left.pop(at)
    return count


def _iou(one: Array, other: Array) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0


DECODERS: dict[str, Callable[[dict[str, Array], dict[str, Any]], tuple[Array, Array]]] = {
    "yolov8": _yolov8, "yolox": _yolox, "picodet": _picodet,
}  # fmt: skip
WAYS = {"boxes": boxes, "text": text, "class": classes, "mask": mask, "db": decibel}
