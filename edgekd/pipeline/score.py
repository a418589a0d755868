"""What a network is worth on a data set, and whether it can be tried on it at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd import plugins
from edgekd.data._named import shapes
from edgekd.data.dataset import PADDING, Dataset, Split, is_several, is_tokens
from edgekd.errors import BadInputError, NetworkError
from edgekd.networks import bare, takes
from edgekd.outputs import each
from edgekd.pipeline.documents import NetworkRecord
from edgekd.pipeline.tax import may_be_chance
from edgekd.progress import Reporter
from edgekd.reporting.teaching import doubt_of_teacher
from edgekd.students import count
from edgekd.training import predict
from edgekd.training.batches import tensors


def try_out(model: nn.Module, data: Dataset, who: str) -> None:
    """Let a network answer a few samples; raise BadInputError, in one line about `who`, where it cannot, or not so."""
    if not isinstance(model, nn.Module):
        kind = f"class {model.__name__}: call it" if isinstance(model, type) else type(model).__name__
        raise BadInputError(f"the {who} has to be a torch.nn.Module, not {kind}")
    few = _few(data)
    if is_several(few.inputs):
        _require_names(model, few.inputs.dtype.names or (), who)
    try:
        answers = predict(model, data, few)
    except NetworkError as error:
        tokens = f" with tokens up to {np.max(np.asarray(few.inputs))}" if is_tokens(few.inputs) else ""
        why = plugins.told(error.__cause__ or error)
        raise BadInputError(
            f"the {who} cannot take inputs {_shown(few)}{tokens}: {why}{_resize(few, who)}"
        ) from error.__cause__
    data.task.check_outputs(each(answers, np.shape), few.labels, data.classes, f"the {who}")


def _require_names(model: nn.Module, given: Sequence[str], who: str) -> None:
    """Raise BadInputError for an input that the model does not take, and for one that it needs and is not given."""
    known, needed = takes(bare(model))
    if known is not None and (strange := [name for name in given if name not in known]):
        near = plugins.nearest(strange[0], known)
        raise BadInputError(f"the {who} takes {', '.join(known)}; data has {strange[0]!r} too{near}: leave it out")
    if missing := [name for name in needed if name not in given]:
        raise BadInputError(f"the {who} needs {missing[0]!r}; data has {', '.join(given)}")


def _resize(split: Split, who: str) -> str:
    """How a network that wants images of another size gets them."""
    called = "teacher" if who == "teacher" else "model"
    sizes = {4: ("images", "(H, W)"), 3: ("signals", "LENGTH")}
    if split.inputs.ndim not in sizes or is_several(split.inputs):
        return ""
    kind, size = sizes[split.inputs.ndim]
    return f"; for {kind} of its own size, nn.Sequential(nn.Upsample({size}), {called})"


def _shown(split: Split) -> str:
    found = shapes(split.inputs)
    return str((len(split), *found)) if isinstance(found, tuple) else ", ".join(f"{k} {v}" for k, v in found.items())


def _few(data: Dataset) -> Split:
    """The first two training samples; of tokens, each split's with the largest token and with the most of them."""
    if not is_tokens(data.train.inputs):
        return data.train.take(np.arange(min(2, len(data.train))))
    splits = (data.train, data.val, data.test)
    hardest = [split.take(_largest_and_longest(np.asarray(split.inputs))) for split in splits]
    return Split(*(np.concatenate(arrays) for arrays in zip(*((s.inputs, s.labels) for s in hardest), strict=True)))


def _largest_and_longest(tokens: NDArray[Any]) -> NDArray[Any]:
    places = np.arange(1, tokens.shape[1] + 1)
    return np.array([tokens.max(1).argmax(), ((tokens != PADDING) * places).max(1).argmax()])


def doubt_teacher(value: float, data: Dataset, split: Split, reporter: Reporter) -> None:
    """Warn where a teacher's metric on a split may be chance: what it teaches then is noise, or another order."""
    level, error = data.task.chance(split.labels)
    if may_be_chance(data.metric, value, level, error):
        reporter.warn(doubt_of_teacher(data.metric, value, level))


def is_doubtful(value: float, data: Dataset, split: Split) -> bool:
    """Whether a teacher's metric on a split may be chance."""
    return may_be_chance(data.metric, value, *data.task.chance(split.labels))


def size(model: nn.Module, data: Dataset) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one sample."""
    several = is_several(data.train.inputs)
    example = tensors(data.train.inputs[:1], data.preprocessing) if several else None
    return count(model, data.train.inputs.shape[1:], example=example)


def score(model: nn.Module, data: Dataset) -> NetworkRecord:
    """The task's metrics on the test split, the deciding one with its standard error; size and work."""
    parameters, macs = size(model, data)
    answers = predict(model, data, data.test)
    rows = data.metric.rows(answers, data.test.labels)
    others = {metric.name: metric(answers, data.test.labels) for metric in data.task.metrics[1:]}
    return {
        "test": data.metric.score(rows), "error": data.metric.standard_error(rows),
        "parameters": parameters, "macs": macs, "others": others,
    }  # fmt: skip


def agree(student: nn.Module, teacher: nn.Module, data: Dataset) -> float:
    """The student's metric where the labels are what its teacher decides."""
    ours, theirs = (predict(model, data, data.test) for model in (student, teacher))
    return data.task.agreement(ours, theirs)
