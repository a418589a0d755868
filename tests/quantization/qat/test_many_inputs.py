"""Networks of several inputs and outputs are simulated, trained and exported like those of one."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.backends.reference import Reference
from edgekd.errors import BadInputError
from edgekd.networks import call, input_names, named_outputs
from edgekd.quantization.qat import calibrate, export_float, export_qdq, prepare
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import SCHEMES

SCHEME = SCHEMES["int8-asymmetric"]


@dataclass
class Answer:
    """What a user's network returns."""

    boxes: Tensor
    scores: Tensor


class Three(nn.Module):
    """Tokens, their mask and an image; two heads."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.embed, self.conv = kind, nn.Embedding(12, 8), nn.Conv2d(1, 8, 3)
        self.mix, self.boxes, self.scores = nn.Linear(16, 16), nn.Linear(16, 4), nn.Linear(16, 3)

    def forward(self, tokens: Tensor, mask: Tensor, image: Tensor, scale: float | None = None) -> object:
        words = (self.embed(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        x = torch.relu(self.mix(torch.cat([words, torch.relu(self.conv(image)).mean((2, 3))], 1)))
        boxes, scores = self.boxes(x), self.scores(x)
        if self.kind is tuple:
            return boxes, scores
        return {"boxes": boxes, "scores": scores} if self.kind is dict else Answer(boxes, scores)


def samples(count: int, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    mask = (torch.rand(count, 5, generator=random) > 0.3).float()
    mask[:, 0] = 1
    tokens = torch.randint(0, 12, (count, 5), generator=random)
    return {"tokens": tokens, "mask": mask, "image": torch.randn(count, 1, 8, 8, generator=random)}


@pytest.mark.parametrize(("kind", "outputs"), [(tuple, ("logits", "logits_1")), (dict, ("boxes", "scores"))])
def test_what_is_trained_is_what_is_exported(kind: type, outputs: tuple[str, ...]) -> None:
    named = samples(32)
    given = tuple(named.values()) if kind is tuple else named
    prepared = prepare(Three(kind), SCHEME, given)
    calibrate(prepared, [given])
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05)
    for step in range(3):
        loss = sum(value.square().mean() for value in named_outputs(prepared.train()(**samples(16, step))).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exported = export_qdq(prepared, given, SCHEME, fixed_length=True)
    assert [value.name for value in exported.graph.input] == ["tokens", "mask", "image"]
    others = samples(7, 9)
    found = Reference(exported).run({name: value.numpy() for name, value in others.items()})
    assert tuple(found) == outputs
    wanted = named_outputs(prepared.eval()(*others.values()))  # by position what was trained by name
    assert len(strip_activations(exported)[1]) >= 6
    for name, value in wanted.items():
        apart = np.abs(found[name] - value.detach().numpy()).max()
        assert apart <= 0.02 * value.abs().max()  # roundings of int32 biases, a step of 1/255 here and there


def test_an_input_is_rounded_whether_it_is_given_by_name_or_by_position() -> None:
    given = samples(8)
    prepared = prepare(Three(dict), SCHEME, given)
    calibrate(prepared, [given])
    first, second, third = given.values()
    prepared.eval()
    assert torch.equal(
        prepared(first, second, image=third)["boxes"], prepared(image=third, tokens=first, mask=second)["boxes"]
    )
    assert torch.equal(prepared(first, second, third, None)["boxes"], prepared(**given)["boxes"])


def test_the_float_file_takes_any_batch() -> None:
    network = Three(Answer).eval()
    graph = export_float(network, samples(2), fixed_length=True)
    others = samples(5, 3)
    found = Reference(graph).run({name: value.numpy() for name, value in others.items()})
    with torch.no_grad():
        answer = network(**others)
    assert np.allclose(found["scores"], answer.scores, atol=1e-5)  # float32 sums in another order


def test_a_branch_on_the_batch_of_the_second_input_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.mean(1) + (y.mean(1) if y.shape[0] > 4 else y.sum(1))

    with pytest.raises(BadInputError, match="branches on the size of its batch"):
        export_float(Branching(), (torch.ones(2, 3), torch.ones(2, 4)))


def test_names() -> None:
    nested = {"maps": [torch.zeros(1), torch.ones(1)], "loss": None, "more": {"x": torch.zeros(1)}}
    assert list(named_outputs(nested)) == ["maps_0", "maps_1", "more_x"]
    assert list(named_outputs((torch.zeros(1), [torch.zeros(1)]))) == ["logits", "logits_1"]
    assert input_names(Three(dict), tuple(samples(1).values())) == ["tokens", "mask", "image"]
    assert isinstance(call(nn.Flatten(), torch.zeros(2, 2, 2)), Tensor)
