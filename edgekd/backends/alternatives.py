"""Compiling for a target; when its backend cannot take the model, the others are asked."""

import tempfile
from functools import partial
from itertools import takewhile
from pathlib import Path

import onnx

from edgekd.backends import find_backend
from edgekd.backends.compiled import Compiled, Precision
from edgekd.errors import BadInputError, EdgekdError, NothingToGainError, RefusedByTargetError
from edgekd.onnx_graph import at_batch, inferred
from edgekd.quantization.scheme import find_scheme
from edgekd.target import Target, load_target, target_files


def compile_for(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:
    """What the target's backend leaves in `folder`; its refusal names the targets that take the model.

    A target's static batch is built in. Raises BadInputError, MissingExtraError.
    """
    if target.static_batch:
        model = inferred(at_batch(model, target.batch))
    try:
        return find_backend(target.backend).compile(model, target, folder, precision)
    except NothingToGainError:
        raise
    except BadInputError as error:
        if takers := _takers(model, target, precision):
            raise RefusedByTargetError(str(error), takers) from error
        told = f"{error}; of its scheme no other backend installed here takes it"
        raise BadInputError(told, hint=error.hint or "edgekd targets") from error


def require_taken(model: onnx.ModelProto, target: Target) -> None:
    """Raise BadInputError for a float model that the target's backend refuses whatever its precision, as `compile_for`.

    A backend that does not list its operators is not asked.
    """
    if getattr(find_backend(target.backend), "LISTS_OPERATORS", False):
        with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
            compile_for(model, target.model_copy(update={"io": "float"}), Path(scratch), "float")


def _takers(model: onnx.ModelProto, target: Target, precision: Precision) -> list[str]:
    """Of each other backend that takes the model, the target of such a scheme that is most like this one."""
    nearest: dict[str, Target] = {}
    scheme = find_scheme(target.scheme)
    for other in map(load_target, target_files()):
        if other.backend != target.backend and find_scheme(other.scheme).stores_as(scheme):
            nearest[other.backend] = max(nearest.get(other.backend, other), other, key=partial(_alike, target.name))
    return [other.name for _, other in sorted(nearest.items()) if _takes(model, other, precision)]


def _alike(name: str, other: Target) -> tuple[int, bool]:
    """How far two names agree; this machine's kind where they do not at all."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(name, other.name, strict=False))
    return len(list(same)), other.name.startswith("x86")


def _takes(model: onnx.ModelProto, target: Target, precision: Precision) -> bool:
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        try:
            find_backend(target.backend).compile(model, target, Path(scratch), precision)
        except EdgekdError:
            return False
    return True
