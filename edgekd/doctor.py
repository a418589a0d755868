"""What is installed here, what is missing, and the command that gets it."""

import importlib.metadata
import importlib.util
import platform
import shutil
from typing import Any

# distribution → (module, what it is for, how to get it)
_PYTHON = {
    "torch": ("torch", "teaching and quantisation-aware fine-tuning", "pip install 'edgekd[train]'"),
    "accelerate": ("accelerate", "the training loop's devices and processes", "pip install 'edgekd[train]'"),
    "onnxscript": ("onnxscript", "export from torch to ONNX", "pip install 'edgekd[train]'"),
    "safetensors": ("safetensors", "checkpoints", "pip install 'edgekd[train]'"),
    "tensorboard": ("tensorboard", "curves of `edgekd run --tensorboard`", "pip install 'edgekd[tensorboard]'"),
    "torch-pruning": ("torch_pruning", "students narrower than their teachers", "pip install 'edgekd[prune]'"),
    "onnxruntime": ("onnxruntime", "the reference, and its own backend", "pip install edgekd"),
    "openvino": ("openvino", "OpenVINO bundles", "pip install 'edgekd[openvino]'"),
    "ai-edge-litert": ("ai_edge_litert", "TFLite bundles", "pip install 'edgekd[tflite]'"),
    "tflite-micro": ("tflite_micro", "microcontrollers' bundles (x86-64 Linux)", "pip install 'edgekd[tflm]'"),
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT graph check without a GPU", "pip install 'edgekd[trt-check]'"),
}
_PROGRAMS = {
    "ssh": ("devices over ssh", "apt-get install openssh-client"),
    "adb": ("Android devices", "apt-get install adb"),
}


def diagnose() -> list[dict[str, Any]]:
    """One row per component: what it is for, its version, or the command that installs it."""
    rows = [{"component": "python", "for": "everything", "found": platform.python_version(), "get it": ""}]
    for distribution, (module, purpose, command) in _PYTHON.items():
        found = importlib.metadata.version(distribution) if importlib.util.find_spec(module) else None
        rows.append(
            {"component": distribution, "for": purpose, "found": found or "missing", "get it": "" if found else command}
        )
    for program, (purpose, command) in _PROGRAMS.items():
        path = shutil.which(program)
        rows.append(
            {"component": program, "for": purpose, "found": path or "missing", "get it": "" if path else command}
        )
    return rows
