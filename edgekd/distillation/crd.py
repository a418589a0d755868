"""Contrastive representation distillation (CRD, Tian et al., arXiv:1910.10699)."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output
from edgekd.distillation._pairs import Layer, embeddings
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class CRD:
    """Tell the teacher's embedding of a sample from those of `negatives` samples of other classes, and the reverse.

    Both networks' embeddings of the whole training set are remembered, `dimension` numbers a sample each, and follow
    training with `momentum`. Where labels are no classes, every other sample is a negative.
    """

    student_layer: Layer = "head:input"
    teacher_layer: Layer = "head:input"
    negatives: PositiveInt = 512
    dimension: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weight: Weight = 0.8

    @property
    def student_taps(self) -> tuple[str, ...]:
        """The student's layer; a map is averaged over its positions."""
        return (self.student_layer,)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The teacher's layer."""
        return (self.teacher_layer,)

    def build(self, example: Example) -> nn.Module:
        """Two heads and two memories; raises BadInputError where there is but one class."""
        ours, theirs = example.student.features[self.student_layer], example.teacher.features[self.teacher_layer]
        return Contrast(_channels(ours), _channels(theirs), self.dimension, example.labels)

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss; remembers the batch's embeddings."""
        contrast, indices = context.module, context.indices
        assert isinstance(contrast, Contrast)
        if context.step == 0 and bool((indices < 0).any()):
            raise BadInputError("crd remembers samples by their numbers, which a loader with an order of its own lacks")
        features = student.features[self.student_layer], teacher.features[self.teacher_layer]
        ours, theirs = contrast.embed(*(embeddings(feature, context.mask) for feature in features))
        rows = torch.cat((indices[:, None], contrast.negatives.draw(indices, self.negatives)), 1)
        student_loss = contrast.theirs.loss(ours, rows, self.temperature)
        teacher_loss = contrast.ours.loss(theirs, rows, self.temperature)
        contrast.ours.remember(ours, indices, self.momentum)
        contrast.theirs.remember(theirs, indices, self.momentum)
        return student_loss + teacher_loss


class Contrast(nn.Module):
    """Heads to a common space, the memory of each network there, and who is whose negative."""

    def __init__(self, ours: int, theirs: int, dimension: int, labels: Tensor) -> None:
        super().__init__()
        self.heads = nn.ModuleList((nn.Linear(ours, dimension), nn.Linear(theirs, dimension)))
        self.ours, self.theirs = Memory(len(labels), dimension), Memory(len(labels), dimension)
        self.negatives = Negatives(labels)

    def embed(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, dimension) of length 1 of the student's and the teacher's features (N, C).

        Raises BadInputError where a feature is of another width than at `build`, as the tokens of a sentence are.
        """
        embedded = []
        for head, feature in zip(self.heads, (ours, theirs), strict=True):
            if feature.shape[1] != head.in_features:
                raise BadInputError("crd compares one vector per sample: tap a layer behind the pooling of the tokens")
            embedded.append(F.normalize(head(feature)))
        return embedded[0], embedded[1]


class Memory(nn.Module):
    """One embedding per training sample, and the logarithm of the constant Z that scores against them are over."""

    bank: Tensor
    log_z: Tensor

    def __init__(self, samples: int, dimension: int) -> None:
        super().__init__()
        bound = math.sqrt(3 / dimension)
        self.register_buffer("bank", torch.empty(samples, dimension).uniform_(-bound, bound))
        self.register_buffer("log_z", torch.tensor(torch.nan))

    def loss(self, anchors: Tensor, rows: Tensor, temperature: float) -> Tensor:
        """`crd_loss` against this memory; the first batch fixes Z, as the paper does, to its mean score times n."""
        if self.log_z.isnan():
            scores = _products(anchors.detach(), self.bank, rows) / temperature
            self.log_z.copy_(scores.flatten().logsumexp(0) + math.log(len(self.bank) / rows.numel()))
        return crd_loss(anchors, self.bank, rows, temperature, self.log_z)

    @torch.no_grad()
    def remember(self, vectors: Tensor, indices: Tensor, momentum: float) -> None:
        """Move the samples' embeddings towards `vectors`, and back to length 1."""
        self.bank[indices] = F.normalize(torch.lerp(vectors.detach(), self.bank[indices], momentum))


class Negatives(nn.Module):
    """Draws samples of other classes: in `order` of class, all but a sample's own stretch from `first` on."""

    order: Tensor
    first: Tensor
    count: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        by_class = labels.ndim == 1 and not labels.is_floating_point()
        places = torch.arange(len(labels))
        classes: Tensor = torch.unique(labels, return_inverse=True)[1] if by_class else places
        sizes = classes.bincount()
        if sizes.max() == len(labels):
            raise BadInputError("crd draws negatives from other classes, but the training set has only one")
        for name, value in (
            ("order", classes.argsort(stable=True)),
            ("first", (sizes.cumsum(0) - sizes)[classes]),
            ("count", sizes[classes]),
        ):
            self.register_buffer(name, value, persistent=False)

    def draw(self, indices: Tensor, number: int) -> Tensor:
        """(N, number) samples, each of another class than its row's, uniform with replacement."""
        first, count = self.first[indices][:, None], self.count[indices][:, None]
        random = torch.randint(2**62, (len(indices), number), device=indices.device)
        place = random % (len(self.order) - count)
        return self.order[torch.where(place < first, place, place + count)]


def crd_loss(anchors: Tensor, bank: Tensor, rows: Tensor, temperature: float, log_z: Tensor) -> Tensor:
    """Noise-contrastive estimation (eq. 17 and 18): which of the `rows` of a bank belongs to an anchor.

    With h = exp(anchor · candidate / T) / Z and c = K / n, an anchor's loss is −log(h / (h + c)) of its own candidate,
    the first, minus the sum of log(c / (h + c)) over its K negatives; mean over the batch. Anchors are (N, D), the bank
    (n, D) without a gradient, rows (N, 1 + K) int64.
    """
    loss: Tensor = _Estimation.apply(anchors, bank, rows, temperature, log_z)  # type: ignore[no-untyped-call]
    return loss


class _Estimation(torch.autograd.Function):
    """Takes the gradient along with the value: the candidates, N·K·D numbers, are never held at once."""

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, bank: Tensor, rows: Tensor, temperature: float, log_z: Tensor) -> Tensor:
        noise = math.log((rows.shape[1] - 1) / len(bank))
        logits = _products(anchors, bank, rows) / temperature - log_z - noise
        slopes = logits.sigmoid()
        slopes[:, 0] -= 1
        gradient = F.embedding_bag(rows, bank, mode="sum", per_sample_weights=slopes)
        ctx.save_for_backward(gradient / (temperature * len(rows)))
        return (F.softplus(logits).sum(1) - logits[:, 0]).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return scale * gradient, None, None, None, None


def _products(anchors: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
    """(N, 1 + K) inner products of each anchor with its rows of the bank."""
    # On a processor one anchor's candidates fit its cache: four times as fast as all at once.
    size = 1 if anchors.device.type == "cpu" else len(anchors)
    parts = [slice(start, start + size) for start in range(0, len(anchors), size)]
    return torch.cat([torch.bmm(F.embedding(rows[part], bank), anchors[part, :, None]) for part in parts]).squeeze(2)


def _channels(feature: Tensor) -> int:
    return embeddings(feature, None).shape[1]
