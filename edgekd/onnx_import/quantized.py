"""A quantised model from any tool → QDQ as the target's scheme writes it, every scale kept bit by bit."""

from collections.abc import Callable

import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Graph, check, inferred
from edgekd.onnx_import.batch import first_batch, free_batch, static_batch
from edgekd.onnx_import.biases import store_biases
from edgekd.onnx_import.floats import BATCH, modern
from edgekd.onnx_import.inputs import Arrays, Shapes, model_inputs, random_inputs, sizes_of
from edgekd.onnx_import.moves import quantize_what_moves
from edgekd.onnx_import.normalize_qdq import (
    FLOAT_ORIGINAL,
    fold_stored_constants,
    lift_integer_clips,
    make_explicit,
    require_symmetric_weights,
    shift_to,
)
from edgekd.onnx_import.qoperator import OPERATORS, RUN_TIME, expand_integer_operators
from edgekd.onnx_import.read import opset_of
from edgekd.onnx_import.same import ONE, require_same
from edgekd.onnx_import.shapes import fix_shapes
from edgekd.quantization.qdq import scheme_of
from edgekd.quantization.scheme import Scheme

OLDEST_OPSET = 13  # the first with a scale per channel


def holds_integers(model: onnx.ModelProto) -> bool:
    """Whether a model is quantised already, in whatever form."""
    kinds = QUANTIZERS | OPERATORS.keys() | RUN_TIME
    return any(node.op_type in kinds for node in model.graph.node)


def import_quantized(
    model: onnx.ModelProto, scheme: Scheme, inputs: Arrays | None, shapes: Shapes, count: int
) -> tuple[onnx.ModelProto, Arrays]:
    """The model in the words of `scheme`, untouched where it speaks them, and inputs (made up if none are given).

    What was rewritten is held against the original: no output may move by more than a step. Raises BadInputError, with
    what derives the scales anew, for models of another scheme or that no exact rewriting brings there.
    """
    plain = modern(model) if opset_of(model) < OLDEST_OPSET else model
    plain = _rewritten(_shaped(plain, shapes, inputs), scheme)
    _require_scheme(plain, scheme)
    built_in = static_batch(plain)
    if built_in:
        plain = free_batch(plain, first_batch(inputs or random_inputs(plain, count), built_in))
    inputs = inputs or random_inputs(plain, count)
    if plain is not model:
        require_same(model, plain, inputs, built_in or BATCH, FLOAT_ORIGINAL, ONE)
    return plain, inputs


def _shaped(model: onnx.ModelProto, shapes: Shapes, inputs: Arrays | None) -> onnx.ModelProto:
    known = all(None not in sizes_of(value)[1:] for value in model_inputs(model))
    if known and not shapes:
        return model
    return fix_shapes(model, {**{name: array.shape for name, array in (inputs or {}).items()}, **shapes})


def _rewritten(model: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    graph = Graph(inferred(model))
    passes: tuple[Callable[[Graph], bool], ...] = (
        expand_integer_operators,
        make_explicit,
        fold_stored_constants,
        lift_integer_clips,
        quantize_what_moves,
        lambda graph: shift_to(scheme, graph),
        lambda graph: store_biases(scheme, graph),
    )
    changed = False
    for rewrite in passes:
        changed |= rewrite(graph)
    require_symmetric_weights(graph)
    if not changed:
        return model
    plain = graph.model()
    check(plain)
    return inferred(plain)


def _require_scheme(model: onnx.ModelProto, scheme: Scheme) -> None:
    found = scheme_of(model)
    if found is None or found.name != scheme.name:
        theirs = found.name if found else "no scheme that edgekd knows"
        raise BadInputError(
            f"it is quantised for {theirs}, the target needs {scheme.name}: {FLOAT_ORIGINAL}, "
            "or add the target to the recipe and run it again"
        )
