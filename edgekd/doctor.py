"""What is installed here, what is missing, and the command that gets it."""

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator

from edgekd.needs import Component, ComponentRow
from edgekd.runtimes import backend_names, find_needs
from edgekd.web.browsers import BROWSERS
from edgekd.web.runtimes import INSTALL, find_web, web_backends

_LEARN = (
    Component("torch", "torch", "teaching and quantisation-aware fine-tuning", "train"),
    Component("accelerate", "accelerate", "the training loop's devices and processes", "train"),
    Component("onnxscript", "onnxscript", "export from torch to ONNX", "train"),
    Component("safetensors", "safetensors", "checkpoints", "train"),
    Component("tensorboard", "tensorboard", "curves of `edgekd run --tensorboard`", "tensorboard"),
    Component("torch-pruning", "torch_pruning", "students narrower than their teachers", "prune"),
)
_LINK = Component("segno", "segno", "the link of web:lan as a QR code", "web")
_PROGRAMS = {
    "ssh": ("devices over ssh", "apt-get install openssh-client"),
    "adb": ("Android devices", "apt-get install adb"),
}


def diagnose() -> list[ComponentRow]:
    """One row per component: what it is for, its version, or the command that installs it."""
    rows = [_row("python", "everything", platform.python_version(), "")]
    components = (component for name in backend_names() for component in find_needs(name).components)
    packages = [*_LEARN, *components, _LINK]
    for package in {package.distribution: package for package in packages}.values():
        found = importlib.metadata.version(package.distribution) if importlib.util.find_spec(package.module) else None
        rows.append(_row(package.distribution, package.purpose, found, package.command))
    for program, (purpose, command) in _PROGRAMS.items():
        rows.append(_row(program, purpose, shutil.which(program), command))
    return [*rows, *_web()]


def _web() -> Iterator[ComponentRow]:
    """What runs bundles in a browser, and the browsers that can be started here."""
    for backend in web_backends():
        web = find_web(backend)
        yield _row(web.title, f"{backend} bundles in a browser", web.version if web.installed else None, INSTALL)
    for name, browser in BROWSERS.items():
        yield _row(name, f"the device web:{name}", browser.program, browser.get)


def _row(component: str, purpose: str, found: str | None, command: str) -> ComponentRow:
    return {"component": component, "for": purpose, "found": found or "missing", "get it": "" if found else command}
