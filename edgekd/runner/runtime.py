"""What the verbs need of an inference engine, and what several engines share."""

from __future__ import annotations

import ctypes
import importlib
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Sequence, Tuple, Type

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.errors import RunnerError, first_line

Options = Dict[str, Optional[Tuple[str, ...]]]
Tensors = List[Dict[str, Any]]


class Runtime:
    """What the verbs need of an inference engine.

    `step` is one inference on the inputs last fed: it is the call that gets timed, so it stays a bare bound method.
    `OPTIONS` maps each runtime option to its legal values (None: any), of which the first is the default.
    """

    OPTIONS: ClassVar[Options] = {}
    TOLERANCE: ClassVar[Dict[str, float]]  # what parity allows at most
    SUFFIX: ClassVar[Optional[str]] = None  # of the model files that it runs without a bundle, too
    COMPANIONS: ClassVar[Tuple[str, ...]] = ()  # suffixes of what lies beside such a file and belongs to it
    KEEPS: ClassVar[Optional[str]] = None  # what it may leave in a bundle: a pattern of names
    PROFILED = ""  # where the times of a profile come from
    warning: Optional[str] = None  # what of this device a user should know, once a model is loaded
    offline = False  # whether to load for throughput
    step: Callable[[], Any]
    version: str

    def __init__(self, options: Dict[str, str]) -> None:
        self.options = options

    @classmethod
    def chosen(cls, options: Dict[str, str]) -> Type[Runtime]:
        """The class that serves these options: itself, or a variant."""
        return cls

    def option(self, key: str, default: str = "") -> str:
        """An option's value, or its default."""
        legal = self.OPTIONS[key]
        return self.options.get(key, legal[0] if legal else default)

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """The inputs and the outputs of a model file: name, dtype, shape (None: free), scale and zero_point."""
        raise NotImplementedError

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Make the model ready to run."""
        raise NotImplementedError

    def feed(self, arrays: Arrays) -> None:
        """Set the inputs, in manifest order."""
        raise NotImplementedError

    def fetch(self) -> Arrays:
        """Copies of the outputs of the last step, in manifest order."""
        raise NotImplementedError

    def stream(self, arrays: Arrays, more: Callable[[List[int]], bool]) -> Tuple[List[int], int]:
        """Infer back to back while `more(ends)`: ns at the begin and as each batch ended, and how many run at once."""
        self.feed(arrays)
        ends = [time.perf_counter_ns()]
        while more(ends):
            self.step()
            ends.append(time.perf_counter_ns())
        return ends, 1

    def operator_coverage(self) -> Dict[str, Any]:
        """How many of the convolution- and matmul-like kernels run in int8."""
        raise NotImplementedError

    def details(self) -> Dict[str, str]:
        """What the runtime chose by itself, such as the precision of its float arithmetic."""
        return {}

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Microseconds of each kernel, as `kernel_time` gives them, in another session than the one that is timed."""
        raise RunnerError("bad-input", "this runtime does not tell what its layers take")

    def footprint(self) -> Optional[Dict[str, int]]:
        """Bytes that the model takes of its device, where this host only stands in for it; None: it is the device."""
        return None


def import_first(names: Sequence[str], advice: str) -> Any:
    """The first importable module; RunnerError(missing-runtime) otherwise."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = first_line(error)
    raise RunnerError("missing-runtime", "{} ({})".format(advice, reason))


def tensor(
    name: str, dtype: str, shape: Sequence[Optional[int]], scale: float = 0.0, zero_point: int = 0
) -> Dict[str, Any]:
    """A tensor of a `tensors` record; without a scale it is not quantised."""
    quantised = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    return dict(name=name, dtype=dtype, shape=list(shape), **quantised)


def counted(ops: Dict[str, int], int8: int, total: int, how: str) -> Dict[str, Any]:
    """The fields of a `kernels` record."""
    return {"int8": int8, "total": total, "how": how, "ops": dict(sorted(ops.items()))}


def kernel_time(
    name: str,
    layer: Optional[str],
    kernel: str,
    precision: Optional[str],
    placement: str,
    us: float,
    weights: Optional[int] = None,
) -> Dict[str, Any]:
    """One executed kernel: the runtime's name for it, the layer whose weights it reads or that it is, and its time.

    `layer` is None for what the runtime added itself, such as changes of layout; `weights` is how many it reads.
    """
    told = {"precision": precision, "placement": placement, "us": us, "weights": weights}
    return dict(told, name=name, layer=layer, kernel=kernel)


def layer_of(weight: str) -> Optional[str]:
    """The layer that a weight's name tells: `stem.0` for `stem.0.weight_quantized`; None for other names."""
    stem = weight.split("_quantized")[0]
    for end in (".weight", ".bias"):
        if stem.endswith(end):
            return stem[: -len(end)]
    return None


def check_options(backend: str, known: Options, options: Dict[str, str]) -> None:
    """Refuse options and values that the runtime does not have."""
    for key, value in options.items():
        if key not in known:
            raise RunnerError("bad-input", "unknown {} option {!r}; known: {}".format(backend, key, ", ".join(known)))
        legal = known[key]
        if legal is not None and value not in legal:
            raise RunnerError("bad-input", "{}={}: expected {}".format(key, value, " or ".join(legal)))


def plain(value: Any) -> str:
    """An option's value as the command line would spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def same_count(bundle: Bundle, inputs: int, outputs: int) -> None:
    """Refuse a model whose tensors are not those of the manifest."""
    if (inputs, outputs) != (len(bundle.inputs), len(bundle.outputs)):
        found = "{} inputs and {} outputs".format(inputs, outputs)
        raise RunnerError("bad-input", "the model has {}, its manifest differs".format(found))


def package_version(package: str, module: Any) -> str:
    """A module's own version, or its distribution's."""
    if isinstance(getattr(module, "__version__", None), str):
        return str(module.__version__)
    from importlib import metadata

    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return "unknown"


def load_library(names: Sequence[str], advice: str) -> Any:
    """The first shared library that loads; RunnerError(missing-runtime) otherwise."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RunnerError("missing-runtime", advice)


@contextmanager
def c_messages() -> Iterator[Callable[[], List[str]]]:
    """A function that gives the lines which C code has written to stderr since."""
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def lines() -> List[str]:
            kept.seek(0)
            return kept.read().decode(errors="replace").splitlines()

        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
