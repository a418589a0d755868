"""A user's model as an fx graph, or one line that says why not."""

import copy
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from edgekd.errors import BadInputError
from edgekd.quantization.qat.fake_quant import QUANTIZED


@dataclass(frozen=True)
class Traced:
    """A traced copy of a model; `returns` tells which node each container's forward gave back, inner ones first."""

    module: fx.GraphModule
    returns: tuple[tuple[str, fx.Node], ...]


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__()
        self.returns: list[tuple[str, fx.Node]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        plain = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in QUANTIZED)
        if isinstance(m, nn.SiLU):
            return False
        return plain or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        path = self.path_of_module(m)
        if isinstance(result, fx.Proxy) and not self.is_leaf_module(m, path):
            self.returns.append((path, result.node))
        return result


def trace(model: nn.Module) -> Traced:
    """Trace a copy of `model` as it evaluates; raise BadInputError naming the line that cannot be traced."""
    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        if hasattr(module, "inplace"):
            vars(module)["inplace"] = False  # a tap must not see its tensor change afterwards
    tracer = _Tracer()
    try:
        graph = tracer.trace(twin)
    except Exception as error:  # whatever the user's forward raises when it meets a proxy
        raise BadInputError(_advice(model, error)) from error
    _spell_out_silu(graph)
    return Traced(fx.GraphModule(twin, graph).train(model.training), tuple(tracer.returns))


def _spell_out_silu(graph: fx.Graph) -> None:
    """SiLU as x · sigmoid(x), which is how it is computed in integers."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is nn.functional.silu:
            with graph.inserting_before(node):
                gate = graph.call_function(torch.sigmoid, (node.args[0],))
            node.target, node.args, node.kwargs = torch.mul, (node.args[0], gate), {}


def _advice(model: nn.Module, error: Exception) -> str:
    internal = (str(Path(torch.__file__).parent), str(Path(__file__)))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(internal)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}: `{frames[-1].line}`" if frames else type(model).__name__
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return (
        f"{where}: this line cannot be traced for quantisation ({reason}); "
        "make it independent of tensor values: no if, loop, len() or Python number computed from a tensor"
    )
