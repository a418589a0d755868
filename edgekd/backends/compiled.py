"""What a backend is, and what it leaves in a bundle's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import onnx

from edgekd.bundle import TensorSpec
from edgekd.target import Target

Precision = Literal["int8", "float", "float16", "dynamic-range"]
PLAIN: tuple[Precision, ...] = ("int8", "float")


@dataclass(frozen=True)
class Compiled:
    """A model as its runtime loads it.

    Attributes:
        model: the file that the runtime opens, a name in the folder.
        files: every file written, `model` among them.
        inputs, outputs: in the bundle's own layout and types, in the order of the graph.
        notes: what a user should know, e.g. layers that stayed in float.
        footprint: what the model takes of its device, as in `bundle.Manifest`.
    """

    model: str
    files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()
    footprint: Mapping[str, int] = field(default_factory=dict)


class Backend(Protocol):
    """What `compile.py` in a folder of `edgekd.backends` offers; the folder's name is the backend's.

    It may have five more: PRECISIONS, if it compiles others than `PLAIN` (from the float model); LISTS_OPERATORS, if it
    refuses in int8 what it refuses in float, so that calibrating can wait for its word; FLOAT_VARIANTS
    (label → runtime options), other arithmetic that its runtime offers for the float model, timed in rows of their
    own; `as_computed(model)`, the QDQ graph that says in ONNX what its arithmetic does otherwise, which it is held
    against; and `check(model)`, what can be said of a QDQ graph that no device has run: {"int8", "total": layers,
    "label": what was checked, in one line}.
    """

    def compile(self, model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:
        """Write the model for its runtime into `folder`: `model` is QDQ for int8, plain for float.

        Raises BadInputError naming node and op for a graph that the runtime cannot take, MissingExtraError without SDK.
        """
        ...
