"""What methods that compare features share: pairs of layers, one layout, one grid, lengths that may vanish."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.errors import BadInputError

# Shorter than this is no direction: dividing by it would turn rounding into a gradient.
SHORTEST = 1e-12


def _single(tap: str) -> str:
    if set(tap) & set("*?["):
        raise ValueError(f"{tap!r} is a pattern; a pair takes one layer of each network")
    return tap


Layer = Annotated[str, AfterValidator(_single)]


@dataclass(frozen=True)
class Pairs:
    """Layers to compare: student taps mapped to teacher taps, neither of them patterns.

    Losses are averaged over the pairs; where a paper sums over stages, its weight is here times their number.
    """

    layers: Annotated[Mapping[Layer, Layer], Field(min_length=1)]

    @property
    def student_taps(self) -> tuple[str, ...]:
        """The student's layers."""
        return tuple(self.layers)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The teacher's layers."""
        return tuple(self.layers.values())

    def mean(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        student: Output,
        teacher: Output,
        view: Callable[[Tensor, Tensor | None], Tensor],
        context: Context,
    ) -> Tensor:
        """Mean of `loss` over the pairs, each feature as `view` shows it; raises BadInputError that names the pair."""
        losses = []
        for ours, theirs in self.layers.items():
            features = view(student.features[ours], context.mask), view(teacher.features[theirs], context.mask)
            with naming(ours, theirs):
                losses.append(loss(*features))
        return torch.stack(losses).mean()


@contextmanager
def naming(student_tap: str, teacher_tap: str) -> Iterator[None]:
    """Let a BadInputError say which layers it is about."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"student layer {student_tap!r} and teacher layer {teacher_tap!r}: {error}") from error


def maps(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Channels first: (N, C, …) as it is, tokens (N, L, D) as (N, D, L) with zeros for padding."""
    if mask is None or feature.ndim != 3 or feature.shape[:2] != mask.shape:
        return feature
    return (feature * mask[..., None]).transpose(1, 2)


def embeddings(feature: Tensor, mask: Tensor | None) -> Tensor:
    """(N, C) mean over the positions of (N, C, …), or over the real tokens of (N, L, D); a vector as it is."""
    if feature.ndim < 3:
        return feature
    mapped = maps(feature, mask)
    if mapped is feature or mask is None:
        return feature.flatten(2).mean(2)
    return mapped.sum(2) / mask.sum(1, keepdim=True).clamp(min=1)


def on_one_grid(student_feature: Tensor, teacher_feature: Tensor) -> tuple[Tensor, Tensor]:
    """Two features (N, C, …) average-pooled, along every axis, to the smaller of both sizes.

    Raises BadInputError where there are no positions to compare, or not along the same number of axes.
    """
    ours, theirs = tuple(student_feature.shape[2:]), tuple(teacher_feature.shape[2:])
    if len(ours) != len(theirs) or not 1 <= len(ours) <= 3:
        raise BadInputError(
            f"features of shape {tuple(student_feature.shape[1:])} and {tuple(teacher_feature.shape[1:])} per sample "
            "have no common positions: tap two feature maps, or use a method that compares embeddings (rkd, pkt)"
        )
    grid = list(map(min, ours, theirs))
    return F.interpolate(student_feature, grid, mode="area"), F.interpolate(teacher_feature, grid, mode="area")


def over(values: Tensor, length: Tensor) -> Tensor:
    """`values` / `length`, where a vanishing length gives zeros with zero gradients."""
    return values / length.masked_fill(length < SHORTEST, torch.inf)


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors of length 1 along `dim`; a zero vector stays zero."""
    return over(vectors, torch.linalg.vector_norm(vectors, dim=dim, keepdim=True))
