"""A runner's verbs, done by a page: the same records and the same judge as of `run.py`; only inferring is elsewhere."""

import argparse
import hashlib
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from edgekd.errors import BadInputError, DeviceError
from edgekd.runner.bundle import FORMAT, Arrays, Bundle
from edgekd.runner.errors import RunnerError
from edgekd.runner.runtime import Options, Runtime, check_options
from edgekd.runner.verbs import Job, filled
from edgekd.runtimes import find_runtime
from edgekd.web.door import Door
from edgekd.web.messages import LIMIT, Hello, Loaded, Message, Outputs, Timed, read_arrays
from edgekd.web.runtimes import INSTALL, WebRuntime, adapter, find_web

CHUNK = LIMIT // 2  # bytes of inputs, and of outputs, that travel at once
SOFTWARE = ("swiftshader", "llvmpipe", "lavapipe")
NOT_TOLD = "a browser does not tell"
Said = TypeVar("Said", bound=Message)


class Page:
    """A page that somebody opens, or has: waited for so long, and then given so many seconds for one job.

    `ended` says why its browser is gone, if it is.
    """

    def __init__(self, door: Door, wait: float, seconds: float, ended: Callable[[], str | None]) -> None:
        self.door, self._wait, self._seconds, self._ended = door, wait, seconds, ended

    @cached_property
    def hello(self) -> Hello:
        """What its browser tells of itself; errors as in `Door.await_page`."""
        return self.door.await_page(self._wait, self._ended)

    @cached_property
    def _deadline(self) -> float:
        return time.monotonic() + self._seconds

    def ask(self, kind: type[Said], **request: Any) -> tuple[Said, bytes]:
        """One answer, of the kind that the request asks for; errors as in `Door.ask`."""
        left = self._deadline - time.monotonic()
        message, content = self.door.ask(request, max(1.0, left), self._ended)
        if not isinstance(message, kind):
            raise DeviceError(f"the browser answered with {message.kind!r}, where something else was asked for")
        return message, content


class BrowserRuntime(Runtime):
    """What the verbs ask of a runtime that is in a worker of the page."""

    OPTIONS: ClassVar[Options] = {"accelerator": ("wasm", "webgpu")}

    def __init__(self, options: dict[str, str], backend: str, page: Page) -> None:
        super().__init__(options)
        check_options(f"{backend} in a browser", self.OPTIONS, options)
        self.backend, self.page, self.web = backend, page, installed(backend)
        self.version = self.web.version
        self.TOLERANCE = find_runtime(backend).TOLERANCE  # type: ignore[misc]

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Serve the model, and let a fresh worker load it."""
        door, served, own = self.page.door, f"{secrets.token_hex(4)}-{bundle.model.name}", f"{self.backend}.mjs"
        if not door.offers(own):
            for name, content in [*self.web.files(), (own, adapter(self.backend))]:
                door.offer(name, content)
        door.offer(served, self.web.served(_vouched(bundle), batch))
        try:
            self.loaded = self.page.ask(
                Loaded, do="load", adapter=own, model=served, threads=threads,
                options=self.all_options, inputs=[_told(spec, batch) for spec in bundle.inputs],
                shown=self._shown(bundle),
            )[0]  # fmt: skip
        finally:
            door.withdraw(served)

    @property
    def all_options(self) -> dict[str, str]:
        """Every option, by default or not."""
        return {key: self.option(key) for key in self.OPTIONS}

    def details(self) -> dict[str, str]:
        """What a reader of the times has to know of the browser."""
        hello, loaded = self.page.hello, self.loaded
        told = {"browser": hello.agent, "clock_step_us": f"{loaded.clock_ms * 1000:g}", "precision": "f32"}
        told |= {"isolated": "yes" if hello.isolated else "no"}
        return self.all_options | told | ({"adapter": loaded.gpu} if loaded.gpu else {})

    def operator_coverage(self) -> dict[str, Any]:
        """A browser's runtimes do not say what their kernels compute in."""
        return {"int8": None, "total": None, "how": NOT_TOLD, "ops": {}}

    def _shown(self, bundle: Bundle) -> dict[str, str]:
        manifest = bundle.manifest
        kind = f"{manifest['precision']} · {self.web.title} {self.version} · {self.option('accelerator')}"
        return {"name": manifest["name"], "kind": kind}


class BrowserJob(Job):
    """One invocation: a bundle, the verb for it, and the page that does it."""

    def __init__(
        self, arguments: argparse.Namespace, emit: Callable[..., None], page: Page, options: Mapping[str, str]
    ) -> None:
        self.arguments, self.emit, self.kind, self.page = arguments, emit, BrowserRuntime, page
        self.bundle = Bundle(Path(arguments.bundle))
        self.options = dict(options, **dict(_pair(option) for option in arguments.option))
        self.batch = arguments.batch or self.bundle.manifest["batch"]
        self.threads = arguments.threads or self.bundle.manifest["threads"]
        self.offline, self.affinity = False, None
        if arguments.scenario == "offline" or arguments.affinity is not None:
            raise RunnerError("bad-input", "a browser chooses its cores itself: leave out --scenario and --affinity")
        for spec in self.bundle.inputs:
            if None in spec["shape"][1:]:
                raise RunnerError("bad-input", "{!r} has a free size: a browser takes fixed ones".format(spec["name"]))
        self.open()

    def open(self) -> None:
        """A runtime without a model. Options of a bundle are those of another runtime."""
        self.runtime: BrowserRuntime = BrowserRuntime(self.options, self.bundle.manifest["backend"], self.page)

    def run(self) -> bool:
        """Emit every record but `end`; False on a mismatch."""
        manifest, web = self.bundle.manifest, self.runtime.web
        self.emit(
            "start", pid=os.getpid(), format=FORMAT, bundle=manifest["name"], backend=manifest["backend"],
            precision=manifest["precision"], runtime=web.title, runtime_version=web.version, python=None,
            machine={"cpu": self.page.hello.agent, "cores": self.page.hello.cores},
        )  # fmt: skip
        self.load()
        self.emit("load", ms=self.runtime.loaded.ms, cold=None, details=self.runtime.details())
        return bool(getattr(self, self.arguments.verb)())

    def verify(self) -> bool:
        """As everywhere; the page hears the verdict."""
        holds = super().verify()
        self.page.door.tell(
            row="Outputs", text="as the reference, within its tolerance" if holds else "not the reference's", good=holds
        )
        return holds

    def infer(self, inputs: Arrays) -> Arrays:
        """Outputs for any number of samples: whole batches, as many at once as may travel."""
        count, parts = len(inputs[0]), []
        step = self.batch * max(1, CHUNK // (self.batch * max(_bytes(inputs), self._output_bytes())))
        for begin in range(0, count, step):
            part = [array[begin : begin + step] for array in inputs]
            parts.append(self._infer(part, len(part[0])))
        if self.arguments.verb == "predict":
            self.page.door.tell(row="Predictions", text=f"{count:,} samples")
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _infer(self, inputs: Arrays, count: int) -> Arrays:
        whole = math.ceil(count / self.batch) * self.batch
        served = self._offer([filled(array, whole) for array in inputs])
        try:
            told, content = self.page.ask(Outputs, do="infer", data=served, samples=whole, batch=self.batch)
        finally:
            self.page.door.withdraw(served)
        return [array[:count] for array in read_arrays(told, content, self.bundle.outputs, whole)]

    def bench(self) -> bool:
        """Time one inference after the other on fixed inputs, in the worker."""
        if any(name in (self.runtime.loaded.gpu or "").lower() for name in SOFTWARE):
            told = "WebGPU is software here ({}): its outputs are valid, its latency is not"
            raise RunnerError("failed", told.format(self.runtime.loaded.gpu))
        arguments = self.arguments
        served = self._offer([filled(array[: self.batch], self.batch) for array in self.bundle.golden("input")])
        try:
            timed, _ = self.page.ask(
                Timed, do="time", data=served, seconds_timed=arguments.seconds, count=arguments.count,
                warmup=arguments.warmup, batch=self.batch,
            )  # fmt: skip
        finally:
            self.page.door.withdraw(served)
        if timed.hidden:
            raise RunnerError("failed", "the page was hidden while it was timed: browsers slow such pages; show it")
        self.emit(
            "latency", scenario="single-stream", batch=self.batch, threads=self.runtime.loaded.threads, affinity=None,
            first_ms=timed.first_ms, samples_ms=timed.samples_ms, block=timed.block, cpu_ms_min=None, load_average=None,
            peak_rss_mb=None, model_rss_mb=None, warm_load_ms=timed.warm_load_ms, involuntary_switches=None,
            missing=self._missing(timed.block),
        )  # fmt: skip
        return True

    def profile(self) -> bool:
        """A browser's runtimes time no kernels."""
        raise RunnerError("bad-input", "a browser does not tell what layers take: profile it on another device")

    def _missing(self, block: int) -> dict[str, str]:
        """What a browser keeps to itself, and what its clock is too coarse for."""
        missing = dict.fromkeys(("peak_rss_mb", "model_rss_mb", "switches_per_s"), NOT_TOLD)
        missing["cold_load"] = "each load is a fresh worker's, from files in memory"
        if block > 1:
            step = f"{self.runtime.loaded.clock_ms * 1000:g} µs"
            missing["p99"] = missing["p90"] = (
                f"each sample is the mean of {block} inferences: the clock steps by {step}"
            )
        if self.runtime.loaded.threads != self.threads:
            missing["threads"] = f"{self.threads} were asked for; this page gets {self.runtime.loaded.threads}"
        return missing

    def _offer(self, arrays: Arrays) -> str:
        name = f"{secrets.token_hex(4)}.bin"
        little = (array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays)
        self.page.door.offer(name, b"".join(np.ascontiguousarray(array).tobytes() for array in little))
        return name

    def _output_bytes(self) -> int:
        """Of one sample's outputs; a size that nobody knows counts as one."""
        return sum(
            math.prod(size or 1 for size in spec["shape"][1:]) * np.dtype(spec["dtype"]).itemsize
            for spec in self.bundle.outputs
        )


def installed(backend: str) -> WebRuntime:
    """What runs a backend's bundles; RunnerError where nothing does, or its files are not here."""
    try:
        web = find_web(backend)
    except BadInputError as error:
        raise RunnerError("bad-input", str(error)) from error
    if not web.installed:
        raise RunnerError("missing-runtime", f"the files of {web.title} {web.version} are not here: {INSTALL}")
    return web


def _vouched(bundle: Bundle) -> bytes:
    """The model's bytes, whatever became of the file since its hash was checked."""
    content = bundle.model.read_bytes()
    if hashlib.sha256(content).hexdigest() != bundle.sha256(bundle.model.name):
        raise RunnerError("bad-input", f"{bundle.model} does not match its sha256 in manifest.json")
    return content


def _told(spec: Mapping[str, Any], batch: int) -> dict[str, Any]:
    return {"dtype": spec["dtype"], "shape": [batch, *spec["shape"][1:]]}


def _bytes(arrays: Sequence[Any]) -> int:
    """Of one sample."""
    return sum(array[:1].nbytes for array in arrays)


def _pair(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not equals:
        raise RunnerError("bad-input", f"--option {option}: expected KEY=VALUE")
    return key, value
