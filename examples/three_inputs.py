"""A transformer of one's own, three inputs by name and a dictionary of outputs, from a large one to a proven bundle."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def sentences(count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Tokens, mask and types of pairs of sentences; the label is the kind of word that the second has most of."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(24, (count, 12), generator=random)
    mask = (torch.arange(12) < torch.randint(6, 13, (count, 1), generator=random)).long()
    types = (torch.arange(12) >= 4).long().expand(count, -1)
    labels = (F.one_hot(tokens % 4, 4) * (mask * types)[..., None]).sum(1).argmax(1)
    return {"tokens": tokens, "mask": mask, "types": types}, labels


def main(epochs: int = 12, out: str = "bundles", count: int = 4000) -> float:
    """Return the accuracy of the proven int8 bundle."""
    torch.manual_seed(0)
    data = sentences(count, 0), sentences(2000, 1)
    training = edgekd.Training(epochs=epochs, batch=64, optimizer="adamw", learning_rate=0.005)
    teacher = edgekd.train(Encoder(48), data, training=training)
    student = edgekd.distill(teacher, Encoder(12), data, [edgekd.KD()], training=training)
    quantized = edgekd.quantize(student, "int8-asymmetric", data, training=None)
    bundle = edgekd.export(quantized, "x86-onnxruntime", out, name="three-inputs")
    return edgekd.evaluate(bundle, data[1]).value


if __name__ == "__main__":
    print(f"accuracy in int8: {main():.1%}")
