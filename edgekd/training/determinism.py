"""The same numbers again on a GPU too: a killed training has to end with the weights of an unbroken one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read once, with the first product


def let_cublas_repeat() -> None:
    """Ask cuBLAS for one order of sums, unless the user asked for something; call it before CUDA starts.

    https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    """
    os.environ.setdefault(CUBLAS, ":4096:8")


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """CUDA's reproducible kernels while the block runs; torch warns, once a place, of what has none."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
