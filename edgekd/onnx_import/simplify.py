"""Simplification by onnxslim: shapes computed at run time become constants, repeated work is done once."""

import contextlib
import io

import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import check
from edgekd.reading import reason

ADVICE = "--no-simplify leaves the graph as it is"


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A smaller equivalent model; raise BadInputError where onnxslim fails. The caller checks what it computes."""
    import onnxslim

    given = onnx.ModelProto()
    given.CopyFrom(model)
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            slim: onnx.ModelProto = onnxslim.slim(given)
        check(slim)
    except Exception as error:  # a third party's passes over anybody's graph
        raise BadInputError(f"onnxslim cannot simplify the model ({reason(error)}): {ADVICE}") from error
    return slim
