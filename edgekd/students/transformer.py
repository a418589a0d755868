"""A BERT-style encoder of tokens (Devlin et al., arXiv:1810.04805); its weights have the names of Hugging Face's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data.dataset import PADDING


class Embeddings(nn.Module):
    """Words and positions, normalised; the segment is always the first."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 to (N, L, width)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        places = self.position_embeddings(positions) + self.token_type_embeddings.weight[0]
        normalised: Tensor = self.LayerNorm(self.word_embeddings(tokens) + places)
        return normalised


class SelfAttention(nn.Module):
    """Scaled dot-product attention; `scores` and `probabilities` are modules so that they can be tapped."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.scores = nn.Identity()
        self.probabilities = nn.Softmax(dim=-1)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """(N, L, width) and what is added to the scores, (N, 1, 1, L), to (N, L, width)."""
        query, key, value = (self._split(part(states)) for part in (self.query, self.key, self.value))
        scores = self.scores(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]))
        mixed = self.probabilities(scores + bias) @ value
        together: Tensor = mixed.transpose(1, 2).flatten(2)
        return together

    def _split(self, states: Tensor) -> Tensor:
        samples, length, width = states.shape
        return states.reshape(samples, length, self.heads, width // self.heads).transpose(1, 2)


class Residual(nn.Module):
    """A linear layer, added to what came in, normalised."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, states: Tensor, skip: Tensor) -> Tensor:
        """(N, L, inputs) and (N, L, width) to (N, L, width)."""
        normalised: Tensor = self.LayerNorm(self.dense(states) + skip)
        return normalised


class Layer(nn.Module):
    """Attention and a feed-forward network, each with its residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(width, heads), "output": Residual(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = Residual(hidden, width)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """(N, L, width) to (N, L, width)."""
        attended = self.attention["output"](self.attention["self"](states, bias), states)
        layer_output: Tensor = self.output(F.gelu(self.intermediate["dense"](attended)), attended)
        return layer_output


class Encoder(nn.Module):
    """Layers, one after the other."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(width, heads, hidden) for _ in range(layers))

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """(N, L, width) to (N, L, width)."""
        for layer in self.layer:
            states = layer(states, bias)
        return states


class Transformer(nn.Module):
    """Token embeddings, layers, the mean over what is not padding, then classes or an embedding of length 1."""

    def __init__(
        self, classes: int, vocabulary: int, positions: int, width: int, layers: int, heads: int, hidden: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = Encoder(layers, width, heads, hidden)
        self.head = nn.Linear(width, classes) if classes else None

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 tokens, 0 for padding, to logits (N, classes) or embeddings (N, width)."""
        mask = tokens != PADDING
        bias = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -1e4)[:, None, None]
        states = self.encoder(self.embeddings(tokens), bias)
        weights = mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        logits: Tensor = F.normalize(mean) if self.head is None else self.head(mean)
        return logits


def build(
    classes: int,
    vocabulary: int = 30522,
    positions: int = 128,
    width: int = 128,
    layers: int = 2,
    heads: int = 2,
    hidden: int | None = None,
) -> nn.Module:
    """An encoder of `layers`; `hidden` is the feed-forward width, four times `width` by default."""
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of the {heads} heads")
    model = Transformer(classes, vocabulary, positions, width, layers, heads, hidden or 4 * width)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[PADDING].zero_()
    return model
