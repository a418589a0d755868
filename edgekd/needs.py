"""What a backend needs of the machines that compile for it and that run its bundles; data alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

# What `doctor` says of a component, as JSON; "get it" is the command, or empty.
ComponentRow = TypedDict("ComponentRow", {"component": str, "for": str, "found": str, "get it": str})


@dataclass(frozen=True)
class Component:
    """A Python package that `doctor` shows: what it is for on this machine, and the pip extra that holds it.

    Without an extra it is one of the base install's, unless `get` is a command of its own.
    """

    distribution: str
    module: str
    purpose: str
    extra: str | None = None
    get: str = ""

    @property
    def command(self) -> str:
        """What installs it."""
        return self.get or (f"pip install 'edgekd[{self.extra}]'" if self.extra else "pip install edgekd")


@dataclass(frozen=True)
class Way:
    """How a device gets a runtime, or why it cannot: `{pip}` and `{python}` are its installer and version.

    It fits a Python of `bits` from the version `since` to the version `until`; `jetson`: on those boards alone.
    """

    told: str
    bits: int | None = None
    since: tuple[int, ...] = ()
    until: tuple[int, ...] | None = None
    jetson: bool = False

    def fits(self, version: tuple[int, ...], bits: int, jetson: bool) -> bool:
        """Whether it is a way for a device's Python."""
        there = self.since <= version and (self.until is None or version <= self.until)
        return there and self.bits in (None, bits) and jetson >= self.jetson


@dataclass(frozen=True)
class Accelerator:
    """What a target computes on besides the CPU: one of NVIDIA's GPUs, or whatever is reached by nodes below `node`.

    Only targets need it whose runtime option `device` is its name, unless `always`. `get` says how a device gets it,
    `closed` what to do where its node is there, but not for this user.
    """

    name: str
    get: str
    node: str | None = None
    closed: str = "sudo usermod -aG render $USER"
    always: bool = False

    def wanted(self, options: Mapping[str, object]) -> bool:
        """Whether runtime options ask for it."""
        return self.always or options.get("device") == self.name


@dataclass(frozen=True)
class Build:
    """Another build of a runtime, for targets whose runtime `option` has this `value`.

    What its module's function `lists` returns tells it from others: `offers` is among it. `package` and `get` are as
    `Needs.package` and `Way.told`.
    """

    option: str
    value: str
    lists: str
    offers: str
    package: str
    get: str


@dataclass(frozen=True)
class AppSetting:
    """What an app that opens a bundle's model without our runner has to set, `told` in a sentence.

    Models of the precisions and, in int8, of the schemes in `without` do without it.
    """

    told: str
    without: frozenset[str] = frozenset()

    def wanted(self, precision: str, scheme: str) -> bool:
        """Whether it matters to such a model."""
        return (scheme if precision == "int8" else precision) not in self.without


@dataclass(frozen=True)
class Needs:
    """All that is known of a backend outside of its folder.

    Attributes:
        title: the runtime, as people call it.
        package: what a device gets besides Python and numpy, in a word.
        modules: of a device's Python; the first that is there will do.
        ways: how a device gets one of them: the first that fits is told, else the last.
        components: what compiling, or checking, takes here.
        builds: other builds of the runtime, which some targets' options ask for.
        build: the one of them that this is about, if it is about one.
        accelerators: what its targets may compute on besides the CPU.
        stand_in: where the runner only stands in for the device: what ran, in one line; nothing is timed then.
        silicon: machines, as `uname -m` has them, where it does not: there it is the device.
        without_python: whether the C runner runs its bundles, too.
        on_board: where it stands in, how the device itself runs a bundle, in a line of the bundle's README.
        in_app: what an app has to set that opens the model itself, in a line of the bundle's README and of the card.
        target_keys: keys of a target that it alone understands: `batches`, `floats`.
        compiler: options of its compiler that a target sets in `compiler`, and their values, the first by default.
    """

    title: str
    package: str
    modules: tuple[str, ...]
    ways: tuple[Way, ...]
    components: tuple[Component, ...] = ()
    builds: tuple[Build, ...] = ()
    build: Build | None = None
    accelerators: tuple[Accelerator, ...] = ()
    stand_in: str | None = None
    silicon: tuple[str, ...] = ()
    without_python: bool = False
    on_board: str | None = None
    in_app: AppSetting | None = None
    target_keys: frozenset[str] = frozenset()
    compiler: Mapping[str, tuple[str | bool, ...]] = field(default_factory=dict)

    def built_for(self, options: Mapping[str, object]) -> "Needs":
        """The same for a target with such runtime options: of the build that they ask for."""
        build = next((one for one in self.builds if options.get(one.option) == one.value), None)
        if build is None:
            return self
        return replace(self, build=build, package=build.package, ways=(Way(build.get, bits=64), self.ways[-1]))

    @property
    def probes(self) -> list[str]:
        """What a device's Python is searched for: modules, and of a build `module:function`, too."""
        lists = [f"{module}:{self.build.lists}" for module in self.modules] if self.build else []
        return [*self.modules, *lists]

    def found(self, there: Mapping[str, str]) -> str | None:
        """The runtime among the answers to `probes`, with its version."""
        for module in filter(there.__contains__, self.modules):
            if self.build is None:
                return f"{module} {there[module]}"
            if self.build.offers in there.get(f"{module}:{self.build.lists}", "").split():
                return f"{module} {there[module]}, {self.build.offers}"
        return None

    def way(self, version: tuple[int, ...], bits: int, jetson: bool) -> Way:
        """How a device with such a Python gets a runtime."""
        return next((way for way in self.ways if way.fits(version, bits, jetson)), self.ways[-1])

    def app_setting(self, precision: str, scheme: str) -> str | None:
        """What an app has to set that opens such a model itself, in a sentence."""
        return self.in_app.told if self.in_app and self.in_app.wanted(precision, scheme) else None
