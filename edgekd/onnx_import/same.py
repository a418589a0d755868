"""What was imported, held against what the file says."""

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph, label
from edgekd.onnx_import.inputs import Arrays
from edgekd.quantization.qdq import scale_of
from edgekd.quantization.reference import Reference, few

EIGHT_BITS = 1 / 255  # of an output's range
CLOSE = 0.25  # steps: what float rounding may add up to, and eight bits will not see
ONE = 1.001  # a step, which integer arithmetic may round away
ROUNDING = 1e-5  # of its magnitude, where an output does not move
TINY = 1e-30
SAMPLES = 8
DRAWING = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def require_same(
    original: onnx.ModelProto, imported: onnx.ModelProto, inputs: Arrays, batch: int, advice: str, limit: float = CLOSE
) -> None:
    """Run both on some of the inputs, the original `batch` samples at a time; raise BadInputError where they differ.

    Outputs may differ by `limit` steps: the scale of their quantiser, else 1/255 of their range. One in 255 integers
    may be unequal (equal scores swap).
    """
    given = min(map(len, few(inputs, SAMPLES).values()))
    some = {name: array[: max(given // batch, 1) * batch] for name, array in inputs.items()}  # whole batches
    wanted = Reference(original).run(some, batch=batch)
    try:
        found = Reference(imported).run(some)
    except BadInputError as error:
        raise BadInputError(f"the imported model does not run as the original does: {advice} ({error})") from error
    graph = Graph(imported)
    for name, value in wanted.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInputError(f"output {name!r} is not finite on these inputs: nothing can be held against it")
        distance = _distance(value, found[name], scale_of(graph, name))
        if not distance <= limit:  # NaN is beyond it
            raise BadInputError(
                f"output {name!r} of the imported model is {distance:.2g} steps off the original: {advice}"
            )


def require_settled(model: onnx.ModelProto, inputs: Arrays) -> None:
    """Raise BadInputError where a model draws random numbers and they reach its outputs, which a --set may prevent."""
    drawing = next((node for node in model.graph.node if node.op_type in DRAWING), None)
    if drawing is None:
        return
    reference, one = Reference(model), {name: array[:1] for name, array in inputs.items()}
    once, again = reference.run(one, batch=1), reference.run(one, batch=1)
    if not all(np.array_equal(value, again[name]) for name, value in once.items()):
        raise BadInputError(
            f"{drawing.op_type} {label(drawing)!r} draws random numbers, so that no two answers agree: "
            "export it with the noise as an input, or --set the input that scales it to 0"
        )


def independent(model: onnx.ModelProto, inputs: Arrays) -> bool:
    """Whether two samples give the same together, if they can, and one by one."""
    some = {name: array[:2] for name, array in inputs.items()}
    reference = Reference(model)
    alone = reference.run(some, batch=1)
    try:
        together = reference.run(some)
    except BadInputError:
        return False
    return all(_distance(value, together[name], None) <= CLOSE for name, value in alone.items())


def doubles(model: onnx.ModelProto, inputs: Arrays) -> bool:
    """Whether samples given twice have their answers twice, in order; BadInputError where they do not run."""
    reference = Reference(model)
    once = reference.run(inputs)
    twice = reference.run({name: np.concatenate([array, array]) for name, array in inputs.items()})
    return all(
        value.ndim > 0 and _distance(np.concatenate([value, value]), twice[name], None) <= CLOSE
        for name, value in once.items()
    )


def _distance(wanted: Array, found: Array, step: float | None) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    if wanted.dtype.kind != "f":
        return float((wanted != found).mean()) / EIGHT_BITS
    seen = float(np.ptp(wanted)) * EIGHT_BITS
    unit = max(step or 0.0, seen, float(np.abs(wanted).max()) * ROUNDING, TINY)
    with np.errstate(invalid="ignore"):
        return float(np.abs(wanted - found).max()) / unit
