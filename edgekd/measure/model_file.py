"""A model file that no bundle is made of, in a bundle of the moment, so that whatever takes bundles takes it too."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import GOLDEN, MANIFEST, Manifest, TensorSpec, identify
from edgekd.data.npz import read_npz
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, DeviceError, MissingRuntimeError
from edgekd.files import write_json
from edgekd.measure.protocol import describe
from edgekd.measure.records import Described, Tensors
from edgekd.plugins import nearest
from edgekd.reading import require_file
from edgekd.runner.bundle import write_arrays
from edgekd.runtimes import backend_names, find_needs, find_runtime

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
Sizes = tuple[int | None, ...]
DTYPES = get_args(TensorSpec.model_fields["dtype"].annotation)
SAMPLES = 8  # made up where the batch is free: enough for the batches that are usual


def model_suffixes() -> dict[str, str]:
    """The backend whose runtime runs files of each suffix."""
    by_suffix = {find_runtime(name).SUFFIX: name for name in backend_names()}
    return {suffix: name for suffix, name in by_suffix.items() if suffix}


def backend_of(path: Path) -> str:
    """The backend whose runtime runs such files; BadInputError for another suffix."""
    by_suffix = model_suffixes()
    if path.suffix not in by_suffix:
        told = nearest(path.suffix, by_suffix) if path.suffix else f"; known: {', '.join(sorted(by_suffix))}"
        raise BadInputError(f"{path}: neither a bundle nor a model file{told}")
    return by_suffix[path.suffix]


def require_file_for(paths: Sequence[Path], shapes: Shapes | None, inputs: Path | None) -> None:
    """Raise BadInputError where shapes or inputs are given and none of the paths is a file that they could describe."""
    if (shapes or inputs) and all(path.is_dir() for path in paths):
        raise BadInputError("--shape and --inputs describe a model file; a bundle has its own golden inputs")


@contextmanager
def as_bundle(path: Path, shapes: Shapes | None = None, inputs: Path | None = None) -> Iterator[Path]:
    """Yield a bundle around a model file that some backend's runtime runs; a folder is one already.

    `shapes` fix free dimensions by input; `inputs` is an npz with arrays by input name, in the file's own types,
    samples first. Without it they are made up: uniform in 0…1, or over all that a quantised type holds.
    Raises BadInputError for a file that its runtime does not read, or whose tensors do not share a batch.
    """
    if path.is_dir():
        yield path
        return
    require_file(path)
    backend = backend_of(path)
    with closing(open_device("local:")) as here:  # whose folder goes with this process, however that ends
        yield _wrapped(here, path, backend, shapes or {}, inputs)


def _wrapped(here: Device, path: Path, backend: str, shapes: Shapes, given: Path | None) -> Path:
    folder = Path(here.workspace) / path.stem
    folder.mkdir()
    files = {f"model{suffix}": path.with_suffix(suffix) for suffix in (path.suffix, *find_runtime(backend).COMPANIONS)}
    for name, file in files.items():
        shutil.copy(require_file(file), folder / name)
    names = list(files)
    found = _described(here, backend, folder / names[0], path)
    unknown = sorted(set(shapes) - {tensor.name for tensor in found.inputs})
    if unknown:
        raise BadInputError(f"{path}: no input {unknown[0]!r}{nearest(unknown[0], [t.name for t in found.inputs])}")
    inputs = [_spec(tensor, path, shapes) for tensor in found.inputs]
    outputs = [_spec(tensor, path, {}) for tensor in found.outputs]
    fixed = _common_batch(inputs, path)
    samples = _read(given, inputs) if given else {spec.name: _made_up(spec, fixed or SAMPLES) for spec in inputs}
    write_arrays(folder / GOLDEN, {f"input:{name}": array for name, array in samples.items()})
    manifest = Manifest(
        name=path.name, target=path.name, backend=backend, scheme="as-is", precision="as-is", batch=fixed or 1,
        threads=1, model=names[0], inputs=tuple(inputs), outputs=tuple(outputs),
        files=identify(folder, [*names, GOLDEN]),
    )  # fmt: skip
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return folder


def _described(here: Device, backend: str, copy: Path, path: Path) -> Tensors:
    """What a file takes and gives; of a runtime's words those that name the copy name the file."""
    try:
        return describe(here, backend, copy)
    except MissingRuntimeError:
        raise
    except DeviceError as error:
        why = str(error).replace(str(copy), path.name)
        raise BadInputError(f"{path}: {find_needs(backend).title} does not read it: {why}") from error


def _spec(tensor: Described, path: Path, shapes: Shapes) -> TensorSpec:
    """A tensor whose batch alone may be free; of outputs, whose sizes follow, anything may."""
    if tensor.dtype not in DTYPES:
        raise BadInputError(f"{path}: {tensor.name!r} is {tensor.dtype}; what can be fed is {', '.join(DTYPES)}")
    if not tensor.shape:
        raise BadInputError(f"{path}: {tensor.name!r} is a scalar and has no batch; bake it in: edgekd export --set")
    shape: Sizes = shapes.get(tensor.name, tensor.shape)
    if not _fixes(shape, tensor.shape):
        told = ",".join("?" if size is None else str(size) for size in tensor.shape)
        raise BadInputError(f"--shape {tensor.name}={','.join(map(str, shape))}: the file has {told}")
    spec = {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}
    return TensorSpec.parse(spec | {"scale": tensor.scale, "zero_point": tensor.zero_point}, str(path))


def _fixes(shape: Sizes, free: Sizes) -> bool:
    """Whether a shape is another one, but for dimensions that are free there."""
    return len(shape) == len(free) and all(there in (None, size) for size, there in zip(shape, free, strict=True))


def _common_batch(inputs: list[TensorSpec], path: Path) -> int | None:
    """The batch that all inputs are fixed to; None where it is free."""
    for spec in inputs:
        if None in spec.shape[1:]:
            sizes = ",".join("1" if size is None else str(size) for size in spec.shape)
            raise BadInputError(
                f"{path}: {spec.name!r} has free dimensions: say how large, as in --shape {spec.name}={sizes}"
            )
    batches = {spec.name: spec.shape[0] for spec in inputs}
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{name} {'any' if size is None else size}" for name, size in batches.items())
        raise BadInputError(f"{path}: its inputs do not share a batch ({told}): edgekd export moves it first")
    return next(iter(batches.values()), 1)


def _made_up(spec: TensorSpec, samples: int) -> Array:
    """Seeded samples in the file's own type; of integers that are no quantities, such as tokens, 0 and 1."""
    random, shape = np.random.default_rng(0), (samples, *(size or 1 for size in spec.shape[1:]))
    if spec.dtype == "float32":
        return random.random(shape, np.float32)
    limits = np.iinfo(spec.dtype) if spec.scale is not None or spec.dtype == "uint8" else None
    low, high = (0, 1) if limits is None else (int(limits.min), int(limits.max))
    return random.integers(low, high, shape, endpoint=True).astype(spec.dtype)


def _read(path: Path, inputs: list[TensorSpec]) -> dict[str, Array]:
    arrays = read_npz(path)
    if len(arrays) == len(inputs) == 1:
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    for spec in inputs:
        if spec.name not in arrays:
            raise BadInputError(f"{path}: has no array {spec.name!r}; there is: {', '.join(arrays) or 'nothing'}")
        array, sizes = arrays[spec.name], spec.shape[1:]
        if array.dtype != spec.dtype or array.shape[1:] != sizes or not len(array):
            wanted = f"{spec.dtype} (N, {', '.join(map(str, sizes))})"
            raise BadInputError(f"{path}: {spec.name!r} is {array.dtype} {array.shape}, the model takes {wanted}")
    return {spec.name: arrays[spec.name] for spec in inputs}
