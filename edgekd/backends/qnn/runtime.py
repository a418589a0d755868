"""Qualcomm's HTP through ONNX Runtime: in the vendor's emulator on x86-64, on silicon elsewhere."""

from __future__ import annotations

import json
import platform
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Set, Tuple

from edgekd.backends.onnxruntime.runtime import OnnxRuntime
from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.errors import RunnerError, first_line
from edgekd.runner.runtime import Options, c_messages, counted, import_first, package_version

EMULATED = ("x86_64", "AMD64")
CONTEXT = "context.onnx"
TRACE = "qnn_op_trace.json"
UNTAKEN = re.compile(r"Node '(.+?)(?:_token_\d+)?' OpType:(\w+).* was not selected by that EP")
INTEGERS_ALONE = {"68"}
FLOATS = {534, 562}  # float16 and float32, as QNN numbers its types
WEIGHTED = {"Conv2d", "Conv3d", "DepthWiseConv2d", "FullyConnected", "MatMul", "TransposeConv2d", "TransposeConv3d"}


class Qnn(OnnxRuntime):
    """The HTP of one system on a chip. Nothing may fall back to the CPU unless `cpu=allowed`."""

    SUFFIX: ClassVar[Optional[str]] = None  # a file without a bundle is ONNX Runtime's own

    OPTIONS: ClassVar[Options] = {
        "htp_arch": ("68", "73", "75", "79", "81"),
        "soc_model": None,
        "cpu": ("refused", "allowed"),
        "performance": ("burst", "sustained_high_performance", "balanced", "default"),
    }
    SOCS: ClassVar[Dict[str, Dict[str, str]]] = {
        "68": {"35": "QCS6490", "39": "SA8295P"},
        "73": {"43": "SM8550", "60": "SC8380XP", "64": "SM7550"},
        "75": {"57": "SM8650"},
        "79": {"69": "SM8750"},
        "81": {"87": "SM8850"},
    }
    TOLERANCE: ClassVar[Dict[str, float]] = {"p999_steps": 4.0, "agreement": 0.99}

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        advice = "Qualcomm's execution provider is not installed: pip install onnxruntime onnxruntime-qnn"
        self.provider = import_first(["onnxruntime_qnn"], advice)
        self.version = package_version("onnxruntime_qnn", self.provider)
        told = getattr(self.provider, "build_and_package_info", None)
        self.qairt = str(getattr(told, "qnn_version", "unknown"))  # Qualcomm's own libraries, within the package
        self.arch, self.soc = self.option("htp_arch"), self.option("soc_model")
        self.chip = chip_name(self.arch, self.soc)
        self.emulated = platform.machine() in EMULATED
        self.context: Optional[Path] = None

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Open the context that was prepared for this chip, else prepare the model here, which takes seconds."""
        if any(spec["shape"][0] != batch for spec in bundle.inputs):
            raise RunnerError("bad-input", "the HTP's model has one batch size, {} is another".format(batch))
        self.context = bundle.listed(CONTEXT) if CONTEXT in bundle.manifest["files"] else None
        super().load(bundle, batch, threads)

    def _session(self, optimized: Optional[str] = None, profile: Optional[str] = None) -> Any:
        """A session on the context; one of another version of QNN is left aside."""
        if self.context is not None:
            try:
                return self.prepare(self.context)
            except RunnerError:
                self.context = None
        return self.prepare(self.model)

    def prepare(self, path: Path, traced: Optional[Path] = None, context: Optional[Path] = None) -> Any:
        """A session on the HTP alone; RunnerError where anything is left for the CPU.

        `traced` is a folder for what the compiler tells of its graphs, `context` the file for what it has prepared.
        """
        options = self.module.SessionOptions()
        options.log_severity_level = 4  # what is refused is said once, by us
        if self.option("cpu") == "refused":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if context is not None:
            options.add_session_config_entry("ep.context_enable", "1")
            options.add_session_config_entry("ep.context_file_path", str(context))
            options.add_session_config_entry("ep.context_embed_mode", "1")
        told = self._told_provider(traced)
        with c_messages() as messages:
            try:
                options.add_provider_for_devices(self._devices(), told)
                return self.module.InferenceSession(str(path), options)
            except Exception as error:  # ONNX Runtime's own exceptions share no public base class
                lines = [line for line in messages() if "LIBNATIVE" not in line]
                raise RunnerError("bad-input", self._refusal("; ".join([first_line(error), *lines[-1:]]))) from None

    def _refusal(self, reason: str) -> str:
        """Why there is no session; a node that the provider wanted in its own layout ends all where it has none."""
        told = "the HTP v{} refuses the model: ".format(self.arch)
        node = UNTAKEN.search(reason)
        if node is None:
            return told + reason
        integers = ": it computes in integers alone" if self.arch in INTEGERS_ALONE else ""
        return told + "it has no {} of such tensors for {!r}{}".format(node.group(2), node.group(1), integers)

    def _told_provider(self, traced: Optional[Path]) -> Dict[str, str]:
        told = {
            "backend_path": self.provider.get_qnn_htp_path(),
            "htp_arch": self.arch,
            "soc_model": self.soc,
            "offload_graph_io_quantization": "0",
        }
        if not self.emulated:
            told["htp_performance_mode"] = self.option("performance")
        if traced is not None:
            told.update(enable_framework_op_trace="1", framework_op_trace_dir=str(traced))
            told.update(dump_json_qnn_graph="1", json_qnn_graph_dir=str(traced))
        return told

    def _devices(self) -> List[Any]:
        """The provider's devices; it is registered once in a process."""
        name = self.provider.get_ep_name()
        found = [device for device in self.module.get_ep_devices() if device.ep_name == name]
        if not found:
            self.module.register_execution_provider_library(name, self.provider.get_library_path())
            found = [device for device in self.module.get_ep_devices() if device.ep_name == name]
        if not found:
            raise RunnerError("missing-runtime", "ONNX Runtime finds no HTP here: only its CPU would compute")
        return found

    def operator_coverage(self) -> Dict[str, Any]:
        """Types of what each operation of the compiler's own graph writes; a context no longer tells."""
        with tempfile.TemporaryDirectory() as folder:
            self.prepare(self.model, Path(folder))
            kinds = [(kind, bool(FLOATS & types)) for _, kind, types in qnn_operations(Path(folder))]
        weighted = [in_float for kind, in_float in kinds if kind in WEIGHTED]
        ops = Counter(kind for kind, _ in kinds)
        return counted(ops, weighted.count(False), len(weighted), "output types of the HTP compiler's graph")

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Refused: ONNX Runtime sees one operation, and an emulator's cycles are no chip's."""
        raise RunnerError("bad-input", "no layer is timed on an HTP: placement.json says where each one is")

    def details(self) -> Dict[str, str]:
        """Which chip computed, whether it was emulated, when its graph was prepared, by which of Qualcomm's tools."""
        where = "emulated" if self.emulated else "on silicon"
        return {
            "device": "HTP v{} of {}, {}".format(self.arch, self.chip, where),
            "prepared": "ahead of time" if self.context is not None else "at load",
            "qairt": self.qairt,
        }

    def footprint(self) -> Optional[Dict[str, int]]:
        """Bytes of the context, where an emulator stands in for the chip; None on silicon."""
        if not self.emulated:
            return None
        return {"context_bytes": self.context.stat().st_size} if self.context is not None else {}


def chip_name(arch: str, model: str) -> str:
    """The chip that an architecture and QNN's number of a model name together; RunnerError where they name none."""
    known = Qnn.SOCS.get(arch, {})
    if model not in known:
        pairs = ["{} {} is {}".format(a, m, name) for a, socs in Qnn.SOCS.items() for m, name in socs.items()]
        told = "no chip has htp_arch {} and soc_model {}; known: {}"
        raise RunnerError("bad-input", told.format(arch, model or "none", ", ".join(pairs)))
    return known[model]


def qnn_graphs(folder: Path) -> Iterator[Dict[str, Any]]:
    """The graphs that the compiler has written into a folder, one for each part of a model that it took."""
    for path in sorted(folder.glob("*.json")):
        if path.name != TRACE and not path.name.endswith("_tensor_log.json"):
            yield json.loads(path.read_text(encoding="utf-8"))["graph"]


def qnn_operations(folder: Path) -> Iterator[Tuple[str, str, Set[int]]]:
    """Name, kind and the types of the results of each operation that computes; borders of a graph do not."""
    for graph in qnn_graphs(folder):
        for name, node in graph["nodes"].items():
            types = {int(graph["tensors"][result]["data_type"]) for result in node["output_names"]}
            if node["type"] not in ("Quantize", "Dequantize"):
                yield name, str(node["type"]), types


RUNTIME = Qnn
