"""Which call of a network makes which edge of its ONNX graph: results are tagged, exported, and read off."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.networks import Inputs, each
from edgekd.quantization.clean import clean
from edgekd.quantization.qat.example_ranges import example_ranges
from edgekd.quantization.qat.exporter import to_onnx
from edgekd.quantization.qat.watch import Watched

_DOMAIN, _TAG = "edgekd", "Tag"
_IDLE = frozenset({"Identity", "Dropout", _TAG})


@torch.library.custom_op("edgekd::tag", mutates_args=())
def tag(x: Tensor, number: int) -> Tensor:
    """Stands behind a value in the exporter's graph, which passes through."""
    return x.clone()


@tag.register_fake
def _(x: Tensor, number: int) -> Tensor:
    return torch.empty_like(x)


@dataclass
class Seen:
    """The keys of what was tagged, by its number, and the parameters that layers took as weights."""

    keys: list[str] = field(default_factory=list)
    weights: set[str] = field(default_factory=set)


class Tagged(Watched):
    """A network each of whose floating-point values carries a number into the exporter's graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.seen = Seen()  # torch.export puts attributes back, but not what they hold

    def value(self, key: str, x: Tensor) -> Tensor:
        """A value with the next number."""
        if not x.is_floating_point():
            return x
        self.seen.keys.append(key)
        tagged: Tensor = torch.ops.edgekd.tag(x, len(self.seen.keys) - 1)
        return tagged

    def weight(self, name: str | None, weight: Tensor, axis: int) -> Tensor:
        """The weight itself, taken down."""
        if name is not None:
            self.seen.weights.add(name)
        return weight


@dataclass(frozen=True)
class Tags:
    """A network's plain ONNX graph, the first call that makes each of its edges, and what layers take as weights."""

    graph: onnx.ModelProto
    calls: dict[str, str]
    weights: frozenset[str]


def tags_of(network: nn.Module, example: Inputs) -> Tags:
    """Export a copy of a network as it evaluates, and read off which call makes which edge.

    Raises BadInputError where it cannot be exported, and where its calls depend on how many samples a batch has.
    """
    _check_sizes(network, example)
    tagged = Tagged(copy.deepcopy(network).cpu()).eval()
    raw = to_onnx(tagged, example, fixed_length=True, translations=_translations())
    numbers = _read_off(raw)
    plain = clean(raw)
    edges = {edge for node in plain.graph.node for edge in node.output} | {value.name for value in plain.graph.input}
    if any(number >= len(tagged.seen.keys) for number, _ in numbers):  # it did not run, it was read
        raise BadInputError("the model leaves torch on the way (numpy, or Python numbers): keep to tensors throughout")
    calls: dict[str, str] = {}
    for number, names in numbers:
        for edge in edges & names:
            calls.setdefault(edge, tagged.seen.keys[number])
    return Tags(plain, calls, frozenset(tagged.seen.weights))


def _check_sizes(network: nn.Module, example: Inputs) -> None:
    """The file holds what is done with two samples: it must be what is done with one, and with several."""
    batches = {size: each(example, partial(_of_size, size)) for size in (2, 1, 9)}
    two, *others = ((size, list(example_ranges(network, batch))) for size, batch in batches.items())
    for size, calls in others:
        for here, there in zip_longest(two[1], calls):
            if here != there:
                raise BadInputError(
                    f"the model's code branches on its input: after a batch of {size} it calls {there or 'nothing'} "
                    f"where after one of 2 it calls {here or 'nothing'}; it must go one way, whatever the input"
                )


def _of_size(size: int, samples: Tensor) -> Tensor:
    """So many samples, the same ones again where there are fewer."""
    return torch.cat([samples] * (size // len(samples) + 1))[:size]


def _read_off(model: onnx.ModelProto) -> list[tuple[int, set[str]]]:
    """Make every tag a node that does nothing; return its number and what its edge may be called without such nodes.

    That is the name of the first edge of their chain or, where the chain leaves the graph, of the last.
    """
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    found = []
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type not in _IDLE:
            continue
        source = first[node.output[0]] = first.get(node.input[0], node.input[0])
        if node.output[0] in outputs:
            last.setdefault(source, node.output[0])
        if node.op_type == _TAG:
            found.append((node.attribute[0].i, source))
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
    return [(number, {source, last.get(source, source)}) for number, source in found]


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the exporter writes a tag."""
    from onnxscript import values  # heavy: only an export pays for it

    write = values.Op(values.Opset(_DOMAIN, 1), _TAG, _schema())

    def translate(x: Any, number: int) -> Any:
        return write(x, number=number)

    return {torch.ops.edgekd.tag.default: translate}


def _schema() -> OpSchema:
    return OpSchema(
        _TAG,
        _DOMAIN,
        1,
        inputs=[OpSchema.FormalParameter("x", "T")],
        outputs=[OpSchema.FormalParameter("y", "T")],
        type_constraints=[("T", [f"tensor({kind})" for kind in ("float16", "float", "double", "bfloat16")], "")],
        attributes=[OpSchema.Attribute("number", OpSchema.AttrType.INT, "")],
    )
