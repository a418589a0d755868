"""A toy encoder whose modules are called as Hugging Face's BERT calls them."""

import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = nn.ModuleDict({"dense": nn.Linear(4 * width, width), "LayerNorm": nn.LayerNorm(width)})

    def forward(self, states):
        hidden = torch.relu(self.intermediate["dense"](states))
        return self.output["LayerNorm"](states + self.output["dense"](hidden))


class Bert(nn.Module):
    def __init__(self, vocabulary=50, positions=16, width=8, layers=6, classes=3):
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(vocabulary, width, padding_idx=0),
                "position_embeddings": nn.Embedding(positions, width),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width) for _ in range(layers))})
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        places = self.embeddings["position_embeddings"](torch.arange(tokens.shape[1]))
        states = self.embeddings["word_embeddings"](tokens) + places
        for layer in self.encoder["layer"]:
            states = layer(states)
        return self.head(states.mean(1))


def teacher(**sizes):
    """A toy encoder in evaluation mode, always with the same weights."""
    torch.manual_seed(0)
    return Bert(**sizes).eval()
