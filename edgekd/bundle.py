"""A bundle: one model for one target, with everything that its device needs to run and to prove it."""

import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.reading import read_json
from edgekd.runtimes import find_runtime
from edgekd.schema import Amount, Cores, Count, Positive, Schema, TaskSpec, Threads

MANIFEST, GOLDEN = "manifest.json", "golden.npz"
FORMAT = 1


class Preprocessing(Schema):
    """How raw values become model inputs: `(raw * scale - mean) / std`, per channel."""

    scale: Positive = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)


class Range(Schema):
    """Which values raw inputs, before their preprocessing, take in so many samples: extremes and percentiles."""

    low: float
    p01: float
    p99: float
    high: float
    samples: PositiveInt

    @property
    def width(self) -> float:
        """From the lowest to the highest."""
        return self.high - self.low

    @property
    def middle(self) -> float:
        """From the 1st to the 99th percentile."""
        return self.p99 - self.p01

    def __str__(self) -> str:
        return f"from {self.low:.4g} to {self.high:.4g}"


class TensorSpec(Schema):
    """One input or output in the bundle's own layout and type; None in `shape` is the batch.

    Real value = (stored - zero_point) * scale for integer types. `step` is the unit in which parity is judged; `noise`
    what quantising costs an output: root mean square of the reference - the float model, in real units; of indices the
    share that differs. `range` is that
    of the inputs that the model was trained or calibrated on, `vocabulary` how many tokens it knows.
    """

    name: str
    dtype: Literal["float32", "int8", "uint8", "uint16", "int32", "int64", "bool"]
    shape: tuple[int | None, ...]
    layout: str | None = None
    scale: Positive | None = None
    zero_point: int | None = None
    step: Positive | None = None
    noise: Amount | None = None
    preprocessing: Preprocessing | None = None
    range: Range | None = None
    vocabulary: PositiveInt | None = None
    labels: tuple[str, ...] | None = None

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """Shape of one sample as the model sees it: channels first."""
        sizes = self.shape[1:]
        return (sizes[-1], *sizes[:-1]) if self.layout == "NHWC" else sizes

    @property
    def is_real(self) -> bool:
        """Whether its values are real numbers, quantised or not, and neither tokens, indices nor flags."""
        return self.dtype == "float32" or self.scale is not None


class File(Schema):
    """Identity of one file."""

    sha256: str
    bytes: Count


class LayerLoss(Schema):
    """What quantising has cost by a layer's output, and by that layer itself, in dB; of golden samples."""

    layer: str
    kind: str
    sqnr_db: float | None
    lost_db: float | None


class Manifest(Schema):
    """All that MEASURE knows of a model. `precision` says which variant of the target it is; `as-is`: a file.

    `profile` are the batches that a TensorRT engine is built for: `min`, `opt` (tuned for) and `max`; without one it is
    built for whatever batch is asked. `footprint` is what the model takes of a device that the runner only stands in
    for, as in `measure.records.Footprint`. `task` is what it was taught; None where nobody said so.
    """

    format: Literal[1] = 1
    name: str
    target: str
    backend: str
    scheme: str
    precision: Literal["int8", "float", "float16", "dynamic-range", "as-is"]
    batch: PositiveInt
    profile: dict[str, PositiveInt] | None = None
    threads: Threads
    affinity: Cores | None = None
    runtime: dict[str, str | int | bool] = Field(default_factory=dict)
    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: TaskSpec | None = None
    files: dict[str, File]
    tolerance: dict[str, Amount] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    footprint: dict[str, Count] = Field(default_factory=dict)
    layers: tuple[LayerLoss, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that the model takes; None: any."""
        return self.inputs[0].shape[0]

    @property
    def model_files(self) -> dict[str, File]:
        """The model itself: the file that the runtime opens and its companions of the same stem (an IR has two)."""
        stem = PurePosixPath(self.model).stem
        return {name: file for name, file in self.files.items() if PurePosixPath(name).stem == stem}

    @property
    def model_bytes(self) -> int:
        """Size of the model, its companions included."""
        return sum(file.bytes for file in self.model_files.values())

    @field_validator("task", mode="before")
    @classmethod
    def _by_name(cls, task: Any) -> Any:
        """A task was once its name alone, and `sentence-pairs` was `pairs`."""
        return {"name": {"pairs": "sentence-pairs"}.get(task, task)} if isinstance(task, str) else task

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, File]) -> dict[str, File]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
                raise ValueError(f"path {name!r} leaves the bundle")
        return files


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest, its files unseen; raise BadInputError when it is missing or malformed."""
    if not (folder / MANIFEST).exists():
        raise BadInputError(f"{folder}: not a bundle (no {MANIFEST})", hint="edgekd export --help")
    document = read_json(folder / MANIFEST)
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise BadInputError(f"{folder / MANIFEST}: bundle format {found} is of a newer edgekd; this one reads {FORMAT}")
    return Manifest.parse(document, str(folder / MANIFEST))


def load_bundle(folder: Path) -> Manifest:
    """Read a bundle's manifest and check every hash; raise BadInputError when a file is missing or changed."""
    manifest = read_manifest(folder)
    if manifest.model not in manifest.files:
        raise BadInputError(f"{folder / MANIFEST}: lists no hash for the model, {manifest.model!r}")
    for name, identity in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BadInputError(f"{folder}: {name} is missing")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInputError(f"{folder}: {name} is a link that leaves the bundle")
        if path.stat().st_size != identity.bytes or sha256(path) != identity.sha256:
            raise BadInputError(f"{folder}: {name} does not match its sha256 in {MANIFEST}")
    _refuse_unlisted(folder, manifest)
    return manifest


def _refuse_unlisted(folder: Path, manifest: Manifest) -> None:
    """Nothing vouches for a file that the manifest does not list, and a runtime might load it, unless it built it."""
    kept = find_runtime(manifest.backend).KEEPS
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        built = kept is not None and re.fullmatch(kept, name) and not path.is_symlink()
        if name != MANIFEST and name not in manifest.files and not built:
            raise BadInputError(f"{folder}: {name} is not listed in {MANIFEST}: remove it")


def identify(folder: Path, names: list[str]) -> dict[str, File]:
    """Identities of files in a folder."""
    return {name: File(sha256=sha256(folder / name), bytes=(folder / name).stat().st_size) for name in names}
