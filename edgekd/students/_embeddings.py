"""Smaller embedding tables: factorised, of fewer tokens, of fewer positions."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.students._modules import find, replace


class Renumber(nn.Module):
    """Token ids by the numbers that a trimmed vocabulary gives them."""

    ids: Tensor

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.register_buffer("ids", ids)

    def forward(self, tokens: Tensor) -> Tensor:
        """Any shape of the whole vocabulary's ids to the same shape of the trimmed one's."""
        return self.ids[tokens]


def factorise_embedding(model: nn.Module, name: str, rank: int) -> nn.Module:
    """A copy whose Embedding (V, D) is Sequential(Embedding (V, rank), Linear (rank, D) without bias).

    The truncated SVD is the nearest product of that rank (ALBERT's factorisation, arXiv:1909.11942, with inherited
    weights). Codes keep the embedding's scale and the projection starts orthonormal: learning rates still fit.
    """
    derived = copy.deepcopy(model)
    table = find(derived, name, nn.Embedding)
    words, width = table.weight.shape
    if not 1 <= rank <= min(words, width):
        raise BadInputError(f"rank {rank} of {name!r}: an embedding of {words}×{width} has ranks 1…{min(words, width)}")
    with torch.no_grad():
        weight = table.weight.double()
        directions = torch.linalg.eigh(weight.T @ weight).eigenvectors[:, -rank:]  # the right singular vectors
        codes = _table(table, (weight @ directions).to(table.weight), table.padding_idx)
        projection = nn.Linear(rank, width, bias=False).to(table.weight)
        projection.weight.copy_(directions)
    replace(derived, name, nn.Sequential(codes, projection))
    return derived


def trim_vocabulary(model: nn.Module, name: str, keep: int | Sequence[int], unknown: int = 0) -> nn.Module:
    """A copy whose Embedding is Sequential(Renumber, Embedding) and knows only the tokens `keep`.

    It still takes the whole vocabulary's ids, as its teacher does. A number keeps the first so many; every other
    token is read as `unknown`, which is kept and so is the embedding's padding. See `vocabulary_map`.
    """
    derived = copy.deepcopy(model)
    table = find(derived, name, nn.Embedding)
    kept = list(range(keep)) if isinstance(keep, int) else list(keep)
    ids = vocabulary_map(kept, table.num_embeddings, unknown)
    padding = table.padding_idx
    if padding is not None and padding not in kept:
        raise BadInputError(f"vocabulary of {name!r}: the padding token {padding} must be kept")
    rows = table.weight.detach()[torch.tensor(kept, device=table.weight.device)]
    trimmed = _table(table, rows, None if padding is None else int(ids[padding]))
    replace(derived, name, nn.Sequential(Renumber(ids.to(table.weight.device)), trimmed))
    return derived


def vocabulary_map(keep: Sequence[int], size: int, unknown: int) -> Tensor:
    """(size,) int64: each token's id among `keep`, and `unknown`'s for all the others.

    Raises BadInputError unless `keep` ascends within the vocabulary and holds `unknown`.
    """
    if not keep or list(keep) != sorted(set(keep)) or not 0 <= keep[0] <= keep[-1] < size:
        raise BadInputError(f"a vocabulary keeps ascending token ids within 0…{size - 1}, each once")
    if unknown not in keep:
        raise BadInputError(f"the unknown token {unknown} must be among the {len(keep)} tokens kept")
    ids = torch.full((size,), list(keep).index(unknown))
    ids[torch.tensor(keep)] = torch.arange(len(keep))
    return ids


def trim_positions(model: nn.Module, name: str, length: int) -> nn.Module:
    """A copy whose Embedding of positions ends after the first `length`."""
    derived = copy.deepcopy(model)
    table = find(derived, name, nn.Embedding)
    if not 1 <= length <= table.num_embeddings:
        raise BadInputError(f"positions of {name!r}: {length} is not within 1…{table.num_embeddings}")
    padding = table.padding_idx if table.padding_idx is not None and table.padding_idx < length else None
    replace(derived, name, _table(table, table.weight.detach()[:length], padding))
    return derived


def _table(like: nn.Embedding, weight: Tensor, padding: int | None) -> nn.Embedding:
    words, width = weight.shape
    return nn.Embedding(
        words, width, padding, scale_grad_by_freq=like.scale_grad_by_freq, sparse=like.sparse, _weight=weight.clone()
    )
