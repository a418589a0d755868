"""A transformer of one's own, three inputs and a dictionary of outputs, fed by a DataLoader: to a proven bundle."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import edgekd


class Encoder(nn.Module):
    """One layer of attention over tokens, their mask and which of two sentences they are in; all are (N, L) int64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words, self.sentence, self.head = nn.Embedding(24, width), nn.Embedding(2, width), nn.Linear(width, 4)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Tensor, mask: Tensor, types: Tensor) -> dict[str, Tensor]:
        """Logits (N, 4), and what they are read from."""
        x = self.words(tokens) + self.sentence(types)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / x.shape[2] ** 0.5
        x = x + scores.masked_fill(mask[:, None] == 0, -1e4).softmax(2) @ self.value(x)
        pooled = ((x + F.gelu(self.mix(x))) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"logits": self.head(pooled), "pooled": pooled}


def sentences(count: int, seed: int) -> list[Tensor]:
    """Tokens, mask and types of pairs of sentences; the label is the kind of word that the second has most of."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(24, (count, 12), generator=random)
    mask = (torch.arange(12) < torch.randint(6, 13, (count, 1), generator=random)).long()
    types = (torch.arange(12) >= 4).long().expand(count, -1)
    return [tokens, mask, types, (F.one_hot(tokens % 4, 4) * (mask * types)[..., None]).sum(1).argmax(1)]


def fit(network: nn.Module, loader: DataLoader, epochs: int, loss_of: Callable) -> None:
    """A loop as everybody has one."""
    optimizer = torch.optim.AdamW(network.parameters(), 0.005)
    for *inputs, labels in (batch for _ in range(epochs) for batch in loader):
        optimizer.zero_grad()
        loss_of(inputs, F.cross_entropy(network(*inputs)["logits"], labels)).backward()
        optimizer.step()


def main(epochs: int = 12, out: str = "bundles", count: int = 4000) -> float:
    """Return the accuracy of the proven int8 bundle."""
    torch.manual_seed(0)
    loader, teacher, student = DataLoader(TensorDataset(*sentences(count, 0)), 64), Encoder(48), Encoder(12)
    fit(teacher, loader, epochs, lambda _, own_loss: own_loss)
    with edgekd.Distiller(teacher, student, [edgekd.KD()]) as distiller:
        fit(student, loader, epochs, distiller)
    bundle = edgekd.export(student, "x86-onnxruntime", out, samples=loader, name="three-inputs")
    *inputs, labels = sentences(2000, seed=1)
    return edgekd.evaluate(bundle, (inputs, labels), "accuracy").value


if __name__ == "__main__":
    print(f"accuracy in int8: {main():.1%}")
