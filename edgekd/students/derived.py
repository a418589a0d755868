"""A student derived from its teacher: fewer layers, smaller embeddings, fewer channels, the teacher's weights."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.schema import Schema
from edgekd.students._count import example_input
from edgekd.students._embeddings import factorise_embedding, trim_positions, trim_vocabulary, vocabulary_map
from edgekd.students._keep import keep_layers
from edgekd.students._prune import prune

__all__ = [
    "build",
    "factorise_embedding",
    "keep_layers",
    "prune",
    "trim_positions",
    "trim_vocabulary",
    "vocabulary_map",
]

Ratio = Annotated[float, Field(ge=0, lt=1)]
Step = Callable[[nn.Module], nn.Module]


class Changes(Schema):
    """What becomes of a teacher; every key of a table is the name of one of its modules."""

    keep: dict[str, tuple[NonNegativeInt, ...]] = Field(default_factory=dict)
    vocabulary: dict[str, PositiveInt | tuple[NonNegativeInt, ...]] = Field(default_factory=dict)
    unknown_token: NonNegativeInt = 0
    positions: dict[str, PositiveInt] = Field(default_factory=dict)
    embedding_rank: dict[str, PositiveInt] = Field(default_factory=dict)
    prune: Ratio | dict[str, Ratio] = 0.0

    def steps(self, example: Tensor) -> Iterator[tuple[str, Step]]:
        """What each does and how: first what only drops rows and layers, then what weighs those that remain."""
        for name, layers in self.keep.items():
            yield f"keep {name!r} {list(layers)}", partial(keep_layers, container=name, indices=layers)
        for name, tokens in self.vocabulary.items():
            yield f"vocabulary {name!r}", partial(trim_vocabulary, name=name, keep=tokens, unknown=self.unknown_token)
        for name, length in self.positions.items():
            yield f"positions {name!r} {length}", partial(trim_positions, name=name, length=length)
        for name, rank in self.embedding_rank.items():
            table = f"{name}.1" if name in self.vocabulary else name  # behind its Renumber
            yield f"embedding_rank {name!r} {rank}", partial(factorise_embedding, name=table, rank=rank)
        if self.prune:
            yield f"prune {self.prune}", partial(prune, example=example, ratio=self.prune)


def build(
    teacher: nn.Module | None,
    input_shape: tuple[int, ...],
    keep: Mapping[str, Sequence[int]] | None = None,
    vocabulary: Mapping[str, int | Sequence[int]] | None = None,
    unknown_token: int = 0,
    positions: Mapping[str, int] | None = None,
    embedding_rank: Mapping[str, int] | None = None,
    prune: float | Mapping[str, float] = 0.0,
) -> nn.Module:
    """A changed copy of `teacher`, trainable throughout; the functions of this module do one change each.

    Raises BadInputError, naming the change, for a wrong name or value and when what is left no longer fits together.
    """
    if teacher is None:
        raise BadInputError("model 'derived' needs a teacher to derive a student from")
    tables = {"keep": keep, "vocabulary": vocabulary, "positions": positions, "embedding_rank": embedding_rank}
    given = {name: table for name, table in tables.items() if table is not None}
    changes = Changes.parse(given | {"unknown_token": unknown_token, "prune": prune}, "model 'derived'")
    example = example_input(teacher, input_shape)
    student = copy.deepcopy(teacher)
    answer = _answer(student, example)
    for what, change in changes.steps(example):
        student = change(student)
        _check(student, example, answer, what)
    return student.train().requires_grad_()


def _check(student: nn.Module, example: Tensor, expected: torch.Size, what: str) -> None:
    try:
        answer = _answer(student, example)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(f"model 'derived': after {what} the layers no longer fit together: {reason}") from error
    if answer != expected:
        raise BadInputError(f"model 'derived': after {what} the answer is {tuple(answer)}, not {tuple(expected)}")


@torch.no_grad()
def _answer(model: nn.Module, example: Tensor) -> torch.Size:
    outputs: Tensor = model.eval()(example)
    return outputs.shape
