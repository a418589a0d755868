"""What quantising costs each layer of a model, for its bundle."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgekd.bundle import LayerLoss
from edgekd.onnx_graph import Array
from edgekd.quantization.errors_by_layer import layer_errors
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.reference import few

SAMPLES = 8  # enough for a decibel; every edge of each is looked at


def layer_losses(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    original: onnx.ModelProto | None = None,
    samples: int | None = None,
) -> tuple[LayerLoss, ...]:
    """Signal to noise of a QDQ model's layers on so many samples, else on the first few, the worst loss first.

    Without its float `original` it is held beside its own weights with float activations.
    """
    given = {name: np.asarray(array) for name, array in inputs.items()}
    some = few(given, SAMPLES) if samples is None else {name: array[:samples] for name, array in given.items()}
    beside = strip_activations(model)[0] if original is None else original
    return tuple(
        LayerLoss(layer=one.layer, kind=one.kind, sqnr_db=round(one.sqnr, 1), lost_db=round(one.lost, 1))
        for one in layer_errors(beside, model, [some])
    )
