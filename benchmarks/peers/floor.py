"""What no int8 model can be faster than here: its multiply-accumulates at the peak, its bytes at a copy's speed."""

import os
import time
from contextlib import closing
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.devices import open_device
from edgekd.measure import measure
from edgekd.quantization import qat
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from peers import bundles
from peers.environment import CACHE

WIDTH, LAYERS, ROWS = 2048, 4, 1024
TIMED = ("openvino", "onnxruntime", "tflite")


def measured(students: dict[str, Any]) -> dict[str, Any]:
    """The peak in multiply-accumulates per second, and each student's floor in ms against our p50."""
    load = os.getloadavg()[0]
    peaks = peak()
    best = max(peaks.values())
    rows = {}
    for name, student in students.items():
        compute, traffic = 1000 * student["macs"] / best, copied_ms(student["parameters"])
        ours = {
            backend: cells["edgekd"]["latency"]["p50"] / max(compute, traffic)
            for backend, cells in student["backends"].items()
            if "latency" in cells["edgekd"]
        }
        rows[name] = {"macs_ms": compute, "bytes_ms": traffic, "p50_over_floor": ours}
    return {"macs_per_second": peaks, "load": load, "students": rows}


def peak() -> dict[str, float]:
    """Of a chain of large int8 matrix products, by backend, on one thread."""
    torch.manual_seed(0)
    chain = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    samples = torch.randn(ROWS, WIDTH)
    model = qat.export_float(chain, samples[:2])
    quantized = calibrate(model, find_scheme(load_target("x86-openvino").scheme), [{"input": samples[:64].numpy()}])
    folders = {}
    for backend in TIMED:
        folders[backend] = (CACHE / "bundles" / f"peak-{backend}", {})
        bundles.write(quantized, backend, folders[backend][0], samples.numpy())
    with closing(open_device("local:")) as device:
        found = measure(device, folders, seconds=1.0, count=5, batch=ROWS, threads=1)
    work = LAYERS * ROWS * WIDTH * WIDTH
    return {backend: 1000 * work / measurement.latency.p50 for backend, measurement in found.items()}


def copied_ms(size: int, rounds: int = 2000) -> float:
    """Median ms to copy `size` bytes that lie in the cache, as a model's weights do from one inference to the next."""
    source, place = np.ones(size, np.uint8), np.empty(size, np.uint8)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        np.copyto(place, source)
        times.append(time.perf_counter_ns() - begin)
    return median(times) / 1e6
