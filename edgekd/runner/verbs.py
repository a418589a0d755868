"""The verbs: build, verify, bench, predict."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

import numpy as np

from edgekd.runner.bundle import FORMAT, Arrays, Bundle, conforming, read_arrays, write_arrays
from edgekd.runner.errors import RunnerError
from edgekd.runner.judge import judge, tightened
from edgekd.runner.machine import (
    Memory,
    cores,
    involuntary_switches,
    load_average,
    machine,
    pin,
    uncached,
    usable_cores,
)
from edgekd.runner.runtime import Runtime, check_options, plain

CPU_CLOCK_NS = 1_000_000  # the CPU clock is a system call of a microsecond: read it once per millisecond


def open_runtime(kind: Type[Runtime], bundle: Bundle, overrides: Sequence[str]) -> Runtime:
    """A runtime with the manifest's options and the command line's above them."""
    options = {key: plain(value) for key, value in bundle.manifest.get("runtime", {}).items()}
    if any("/" in value or "\\" in value for value in options.values()):
        raise RunnerError("bad-input", "manifest.json: a runtime option names a path, which only --option may")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RunnerError("bad-input", "--option {}: expected KEY=VALUE".format(override))
        options[key] = value
    kind = kind.chosen(options)
    check_options(bundle.manifest["backend"], kind.OPTIONS, options)
    return kind(options)


def describe(arguments: argparse.Namespace, emit: Callable[..., None], backend: str, kind: Type[Runtime]) -> None:
    """Say what a model file takes and gives, no bundle around it."""
    if kind.SUFFIX is None:
        raise RunnerError("bad-input", "{} runs bundles alone".format(backend))
    inputs, outputs = kind({}).tensors(Path(arguments.bundle))
    emit("tensors", inputs=inputs, outputs=outputs)


class Job:
    """One invocation: a bundle, the backend and the runtime that it is for, and where records go."""

    block = 1  # steps between two looks at the CPU clock
    loaded = False  # whether the command before this one has loaded the same
    runtime: Runtime

    def __init__(
        self,
        arguments: argparse.Namespace,
        emit: Callable[..., None],
        backend: str,
        kind: Type[Runtime],
        before: Optional["Job"] = None,
    ) -> None:
        self.arguments, self.emit, self.kind = arguments, emit, kind
        self.bundle = Bundle(Path(arguments.bundle), kind.KEEPS)
        if self.bundle.manifest["backend"] != backend:
            told = "this runner is for {} bundles, not for {!r}"
            raise RunnerError("bad-input", told.format(backend, self.bundle.manifest["backend"]))
        manifest, self.offline = self.bundle.manifest, arguments.scenario == "offline"
        self.affinity = arguments.affinity
        if self.affinity is None and arguments.verb == "bench" and manifest.get("affinity"):
            self.affinity = cores(manifest["affinity"])
        if self.affinity is not None:
            pin(self.affinity)  # before the runtime makes its threads
        self.batch = arguments.batch or manifest["batch"]
        self.threads = arguments.threads or (usable_cores() if self.offline else manifest["threads"])
        if before is not None and arguments.verb == "bench":
            raise RunnerError("bad-input", "bench measures a fresh process: no other command may come before it")
        if before is not None and before.loads == self.loads:
            self.runtime, self.loaded = before.runtime, True
        else:
            self.open()

    @property
    def loads(self) -> Tuple[Any, ...]:
        """What has to be the same for a model that is loaded to be the one that is asked for."""
        options = tuple(self.arguments.option)
        return self.bundle.folder.resolve(), self.batch, self.threads, self.offline, self.affinity, options

    def run(self) -> bool:
        """Emit every record but `end`; False on a mismatch."""
        manifest = self.bundle.manifest
        self.emit(
            "start", pid=os.getpid(), format=FORMAT,
            bundle=manifest["name"], backend=manifest["backend"], precision=manifest["precision"],
            runtime=type(self.runtime).__name__, runtime_version=self.runtime.version,
            python=platform.python_version(), machine=machine(),
        )  # fmt: skip
        benched, profiled = (self.arguments.verb == verb for verb in ("bench", "profile"))
        cold = uncached(self.bundle) if benched else None
        golden = self.bundle.golden("input") if benched or profiled else []
        self.inputs = [filled(array[: self.batch], self.batch) for array in golden]
        self.memory = Memory()  # only now, or the inputs would count as the model's
        self.emit("load", ms=clocked(self.load), cold=cold, details=self.runtime.details())
        return bool(getattr(self, self.arguments.verb)())

    def open(self) -> None:
        """A runtime without a model; what an earlier one held is free."""
        self.runtime = open_runtime(self.kind, self.bundle, self.arguments.option)
        self.runtime.offline = self.offline

    def load(self) -> None:
        """Load the model, where it is not."""
        if not self.loaded:
            self.runtime.load(self.bundle, self.batch, self.threads)

    def build(self) -> bool:
        """Loading was the work; report what it made."""
        warning = self.runtime.warning
        self.emit("kernels", **self.runtime.operator_coverage(), **({"warning": warning} if warning else {}))
        self.sized()
        return True

    def sized(self) -> bool:
        """Report what the model takes of a device that this host stands in for; False where it is the device."""
        footprint = self.runtime.footprint()
        if footprint is not None:
            self.emit("footprint", **dict(self.bundle.manifest.get("footprint") or {}, **footprint))
        return footprint is not None

    def infer(self, inputs: Arrays) -> Arrays:
        """Outputs for any number of samples, in batches; the last one is filled up and cut again."""
        collected: List[Arrays] = []
        for begin in range(0, len(inputs[0]), self.batch):
            part = [array[begin : begin + self.batch] for array in inputs]
            count = len(part[0])
            self.runtime.feed([filled(array, self.batch) for array in part])
            self.runtime.step()
            outputs = self.runtime.fetch()
            for spec, output in zip(self.bundle.outputs, outputs):
                if output.shape[:1] != (self.batch,):
                    raise RunnerError("failed", "output {!r} has shape {}".format(spec["name"], output.shape))
            collected.append([output[:count] for output in outputs])
        if len(collected) == 1:
            return collected[0]
        return [np.concatenate(parts) for parts in zip(*collected)]

    def verify(self) -> bool:
        """Golden inputs, judged in steps against the reference."""
        measured = self.infer(self.bundle.golden("input"))
        tolerance = tightened(self.runtime.TOLERANCE, self.bundle.manifest.get("tolerance") or {})
        verdicts, unproven = [], []
        for spec, reference, output in zip(self.bundle.outputs, self.bundle.golden("output"), measured):
            record = judge(spec, reference, output, tolerance)
            verdicts.append(record["ok"] or record["unproven"] is not None)
            unproven += [record["unproven"]] if record["unproven"] else []
            self.emit("golden", **record)
        if self.runtime.warning:
            self.emit("warning", text=self.runtime.warning)
        if all(verdicts) and unproven:
            raise RunnerError("not-proven", unproven[0])
        return all(verdicts)

    def bench(self) -> bool:
        """Time on fixed inputs. A stand-in's is no device's."""
        if self.sized():
            return True
        arguments, clock = self.arguments, self.flow if self.offline else self.latency
        self.runtime.feed(self.inputs)
        first = clocked(self.runtime.step)
        gc.collect()
        gc.disable()
        clock(0, arguments.warmup)
        memory = self.memory.fields()  # before samples pile up
        clock(arguments.seconds / 5, 1)
        before = involuntary_switches()
        samples, cpu = clock(arguments.seconds, arguments.count)
        after = involuntary_switches()
        gc.enable()
        self.open()
        gc.collect()
        self.emit(
            "latency", scenario=arguments.scenario, batch=self.batch, threads=self.threads, affinity=self.affinity,
            first_ms=first, samples_ms=samples, cpu_ms_min=cpu, warm_load_ms=clocked(self.load),
            involuntary_switches=None if before is None or after is None else after - before,
            load_average=load_average(), **memory,
        )  # fmt: skip
        return True

    def profile(self) -> bool:
        """Time each kernel and, before and after that, the whole without it."""
        arguments = self.arguments
        whole: List[int] = []
        self.runtime.feed(self.inputs)
        timed(self.runtime.step, 0, arguments.warmup)
        whole += timed(self.runtime.step, arguments.seconds / 2, arguments.count)[0]
        kernels = self.runtime.profile(self.inputs, arguments.runs)
        whole += timed(self.runtime.step, arguments.seconds / 2, arguments.count)[0]
        self.emit(
            "profile", source=self.kind.PROFILED, batch=self.batch, threads=self.threads, runs=arguments.runs,
            latency_us=float(np.median(whole)) / 1e3, kernels=kernels,
        )  # fmt: skip
        return True

    def latency(self, seconds: float, count: int) -> Tuple[List[float], float]:
        """Milliseconds of each step, nothing else inside the clock, and of the CPU for the cheapest block of them."""
        wall, cpu = timed(self.runtime.step, seconds, count, self.block)
        self.block = max(1, CPU_CLOCK_NS // min(wall))
        return [sample / 1e6 for sample in wall], min(cpu) / 1e6

    def flow(self, seconds: float, count: int) -> Tuple[List[float], float]:
        """Milliseconds per batch of a steady flow, over as many batches at a time as run at once, and of the CPU."""
        cpu, clock = time.process_time_ns(), time.perf_counter_ns
        ends, group = self.runtime.stream(
            self.inputs, lambda ends: len(ends) <= count or clock() < ends[0] + seconds * 1e9
        )
        samples = [float(taken) / 1e6 / group for taken in np.diff(ends[::group])]
        return samples, (time.process_time_ns() - cpu) / 1e6 / (len(ends) - 1)

    def predict(self) -> bool:
        """Arrays by input name in, arrays by output name out."""
        arguments = self.arguments
        if not arguments.input or not arguments.output:
            raise RunnerError("bad-input", "predict needs --input and --output")
        specs = self.bundle.inputs
        inputs = read_arrays(Path(arguments.input), [spec["name"] for spec in specs])
        inputs = [conforming(array, spec) for array, spec in zip(inputs, specs)]
        if len({len(array) for array in inputs}) != 1:
            raise RunnerError("bad-input", "{}: inputs differ in their number of samples".format(arguments.input))
        outputs = self.infer(inputs)
        named: Dict[str, Any] = {spec["name"]: output for spec, output in zip(self.bundle.outputs, outputs)}
        write_arrays(Path(arguments.output), named)
        self.emit("predictions", path=arguments.output, n=len(inputs[0]))
        return True


def filled(array: Any, batch: int) -> Any:
    """`batch` samples: the array's own, then its samples again from the first."""
    return array if len(array) == batch else np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))


def clocked(work: Callable[[], Any]) -> float:
    """Milliseconds that a call takes."""
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) / 1e6


def timed(step: Callable[[], Any], seconds: float, count: int, block: int = 1) -> Tuple[List[int], List[float]]:
    """Wall nanoseconds of each call and CPU nanoseconds per call of each block, for at least `seconds` and `count`."""
    wall_clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    wall: List[int] = []
    cpu: List[float] = []
    deadline = wall_clock() + int(seconds * 1e9)
    end = 0
    while end < deadline or len(wall) < count:
        cpu_begin = cpu_clock()
        for _ in range(block):
            begin = wall_clock()
            step()
            end = wall_clock()
            wall.append(end - begin)
        cpu.append((cpu_clock() - cpu_begin) / block)
    return wall, cpu
