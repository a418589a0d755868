"""A target: the chip, its runtime and the arithmetic that a student is trained for."""

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from edgekd.errors import BadInputError
from edgekd.names import FileName, require_file_name
from edgekd.package_data import TARGETS
from edgekd.plugins import nearest, plugged_in
from edgekd.reading import read_toml
from edgekd.runtimes import backend_names, find_needs
from edgekd.schema import Cores, Schema, Share, Threads

SPECIAL = {
    "batches": None,
    "floats": "float32",
    "npu_share": 1.0,
}  # what only some backends understand, and what it is else


class Limits(Schema):
    """What a deployment must stay within; units are in the names."""

    memory_mb: PositiveFloat | None = None
    model_kb: PositiveFloat | None = None
    latency_ms: PositiveFloat | None = None


class Facts(Schema):
    """What a device is, as its makers say; memory is in 10^9 bytes.

    `isa` are features that its CPU has, by the names of Linux's /proc/cpuinfo; `a|b` means one of the two.
    """

    cpu: str | None = None
    cores: PositiveInt | None = None
    isa: tuple[str, ...] = ()
    memory_gb: PositiveFloat | None = None
    accelerator: str | None = None
    power_modes: tuple[str, ...] = ()

    def lacking(self, flags: Collection[str]) -> tuple[str, ...]:
        """Features of `isa` that a CPU with these flags does not have."""
        return tuple(feature for feature in self.isa if not set(feature.split("|")) & set(flags))


class Target(Schema):
    """One device × runtime. `runtime` holds options that the runner passes to the runtime unchanged, `compiler` those
    of the compiler before it, where the backend has one (`needs.compiler`).

    `affinity` are the cores that a latency is measured on, such as a phone's big ones; without it, wherever the kernel
    puts it.

    `prepare` says, step by step, what makes a run on the device fair; `sources` where `facts` and `prepare` are from.

    `static_batch`: the file takes `batch` samples and no other number, as LiteRT.js and the delegates of NPUs want it.

    For backends that understand them (`needs.target_keys`), such as TensorRT: `batches` are the smallest and the
    largest batch that its engine takes (else `batch` alone; `batch` is what it is tuned for), `floats` the type of what
    is not int8. For those of NPUs `npu_share` is the least share of a model's operations that the NPU has to take.
    """

    name: FileName
    title: str
    backend: str
    scheme: str
    batch: PositiveInt = 1
    static_batch: bool = False
    batches: tuple[PositiveInt, PositiveInt] | None = None
    threads: Threads = 1
    affinity: Cores | None = None
    floats: Literal["float32", "float16"] = "float32"
    npu_share: Share = 1.0
    io: Literal["int8", "float"] = "float"
    runtime: dict[str, str | int | bool] = Field(default_factory=dict)
    compiler: dict[str, str | bool] = Field(default_factory=dict)
    limits: Limits = Limits()
    facts: Facts = Facts()
    prepare: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key in (key for key, usual in SPECIAL.items() if getattr(self, key) != usual):
            takers = [name for name in backend_names() if key in find_needs(name).target_keys]
            if self.backend not in takers:
                raise ValueError(f"{key} is for the backend {' or '.join(takers)}, not for {self.backend}")
        if self.batches and self.static_batch:
            raise ValueError("batches: they need a batch that is not static")
        if self.batches and not self.batches[0] <= self.batch <= self.batches[1]:
            raise ValueError(f"batches: {list(self.batches)} leave out the batch, {self.batch}")
        return self

    @model_validator(mode="after")
    def _compilable(self) -> Self:
        known = find_needs(self.backend).compiler if self.compiler else {}
        for key, value in self.compiler.items():
            if key not in known:
                raise ValueError(f"compiler: unknown option {key!r}{nearest(key, known)}")
            if value not in known[key]:
                raise ValueError(f"compiler: {key} = {value!r}{nearest(str(value), map(str, known[key]))}")
        return self

    def compiler_option(self, key: str) -> str | bool:
        """An option of the backend's compiler, or its default."""
        return self.compiler.get(key, find_needs(self.backend).compiler[key][0])

    @property
    def profile(self) -> dict[str, int] | None:
        """Batches that an engine is built for: `min`, `opt` and `max`."""
        return {"min": self.batches[0], "opt": self.batch, "max": self.batches[1]} if self.batches else None

    def at_batch(self, batch: int) -> Self:
        """The target for a model that takes no other batch."""
        return self.model_copy(update={"batch": batch, "batches": None})


def builtin_targets() -> list[str]:
    """Names of the targets that ship with edgekd."""
    return sorted(path.stem for path in TARGETS.glob("*.toml"))


def target_files() -> dict[str, Path]:
    """The files of the targets that ship with edgekd, and of those that plug-ins bring beside a module, by name."""
    brought = {name: _beside(module, name) for name, module in plugged_in("edgekd.targets").items()}
    return dict(sorted((brought | {path.stem: path for path in TARGETS.glob("*.toml")}).items()))


def _beside(module: str, name: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise BadInputError(f"target {name!r}: its plug-in has no module {module}")
    return Path(spec.origin).with_name(f"{name}.toml")


def listed() -> list[dict[str, str]]:
    """One row per built-in target."""
    rows = (load_target(name) for name in target_files())
    return [{"target": t.name, "title": t.title, "backend": t.backend, "scheme": t.scheme} for t in rows]


def described(name: str) -> dict[str, Any]:
    """All that is known of one target; errors as in `load_target`."""
    target = load_target(name)
    document = target.model_dump(mode="json", exclude={"name", "facts"}, exclude_defaults=True)
    return {"target": target.name} | document | target.facts.model_dump(mode="json", exclude_defaults=True)


def load_target(name: str) -> Target:
    """Find a target by path, then in `./targets/`, then by name; raise BadInputError otherwise."""
    own = name.endswith(".toml")
    path = Path(name) if own else Path("targets") / f"{require_file_name(name, 'target')}.toml"
    if not own and not path.is_file():
        known = target_files()
        if name not in known:
            raise BadInputError(f"unknown target {name!r}{nearest(name, known)}", hint="edgekd targets")
        path = known[name]
    return Target.parse({"name": path.stem} | read_toml(path), str(path))
