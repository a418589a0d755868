"""Compiling for a target; when its backend cannot take the model, the others are asked."""

import tempfile
from pathlib import Path

import onnx

from edgekd.backends import find_backend
from edgekd.backends.compiled import Compiled, Precision
from edgekd.errors import BadInputError, EdgekdError, NothingToGainError
from edgekd.target import Target, builtin_targets, load_target


def compile_for(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:
    """What the target's backend leaves in `folder`; its refusal names the built-in targets that take the model.

    Raises BadInputError, MissingExtraError.
    """
    try:
        return find_backend(target.backend).compile(model, target, folder, precision)
    except NothingToGainError:
        raise
    except BadInputError as error:
        takers = _takers(model, target, precision)
        advice = (
            f"these targets take it: {', '.join(takers)}"
            if takers
            else "of its scheme no other backend installed here takes it"
        )
        raise BadInputError(f"{error}; {advice}") from error


def _takers(model: onnx.ModelProto, target: Target, precision: Precision) -> list[str]:
    others = [load_target(name) for name in builtin_targets()]
    return [
        other.name
        for other in others
        if (other.scheme == target.scheme and other.backend != target.backend) and _takes(model, other, precision)
    ]


def _takes(model: onnx.ModelProto, target: Target, precision: Precision) -> bool:
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        try:
            find_backend(target.backend).compile(model, target, Path(scratch), precision)
        except EdgekdError:
            return False
    return True
