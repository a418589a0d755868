"""Every table of the command line, with documents that do not change; run in a terminal by `test_widths.py`."""

from pathlib import Path
from typing import Any

from edgekd import terminal
from edgekd.reporting import last_line
from edgekd.reporting.benchmark import bench_table
from edgekd.reporting.comparison import compare_table
from edgekd.reporting.device import doctor_view, verify_view
from edgekd.reporting.dry_run import dry_run_view
from edgekd.reporting.run_record import read_run
from edgekd.reporting.tables import summary

RUN = read_run(Path(__file__).with_name("sample_run.json"))
TIMED: dict[str, Any] = {
    "device": "ssh://raspberry.local", "bundle": "bundles/student-x86-tflite", "runtime": "LiteRT 2.3.0",
    "precision": "f32", "scenario": "single-stream", "batch": 1, "threads": 2, "affinity": [0, 3], "missing": {},
    "p50": 0.0107, "low": 0.0106, "high": 0.0109, "p90": 0.012, "p99": 0.0252, "n": 7254, "replicates": 5,
    "throughput": 93457.9, "load_ms": 3.37, "warm_load_ms": 1.22, "first_ms": 0.0718, "peak_rss_mb": 50.97,
    "model_rss_mb": 4.78, "switches_per_s": 1.0, "flags": ["noisy", "emulated"],
}  # fmt: skip
BENCH = [TIMED, TIMED | {"device": "local:", "p50": 0.009, "flags": []}, {"device": "adb://X", "error": "went offline"}]
PARITY = [{"output": "logits", "batch": 8, "n": 512, "step": 0.1123, "max_steps": 1.0, "exact": 0.992, "ok": True}]
EXPORT = {
    "status": "ok", "bundle": "bundles/yolo-x86-openvino", "backend": "openvino", "scheme": "int8-asymmetric",
    "bytes": 3_140_000, "notes": ["the input 'images' was given the size 1×3×640×640, which the samples have"],
    "parity": PARITY,
}  # fmt: skip
CHANGE = {
    "target": "x86-onnxruntime-no-vnni", "label": "dynamic-range", "batch": 1, "threads": 1, "before_ms": 0.391,
    "after_ms": 0.502, "change": 0.2839, "before_metric": 0.889, "after_metric": 0.889, "verdict": "regression",
}  # fmt: skip
UNCLEAR = {
    "label": "float", "verdict": "unclear", "reason": "cannot tell from 1 replicate: 5 are needed",
    "next": "edgekd bench OLD_BUNDLE --batch 1 --threads 1 --replicates 5 --out before.jsonl",
}  # fmt: skip
COMPARE = [CHANGE | {"label": "int8", "verdict": "same", "change": 0.001, "after_ms": 0.3914}, CHANGE, CHANGE | UNCLEAR]
PARTS = [
    {"component": "torch", "for": "teaching and quantisation-aware fine-tuning", "found": "2.9.1", "get it": ""},
    {
        "component": "openvino",
        "for": "OpenVINO bundles",
        "found": "missing",
        "get it": "pip install 'edgekd[openvino]'",
    },
]
VERDICT = {
    "device": "ssh://pi", "bundle": "bundles/student-raspberry-pi-5", "ok": True, "kernels": {"int8": 18, "total": 18},
    "golden": PARITY, "samples": 2000, "accuracy": 0.9, "metric": {"name": "accuracy"},
}  # fmt: skip
DEVICES = [
    {"device": "local:", "state": "ready", "what": "this machine"},
    {"device": "adb://emulator-5554", "state": "unauthorized", "what": "sdk gphone64 x86 64"},
]
METHODS = [
    {
        "method": "attention-map",
        "what": "Attention maps before the softmax (TinyBERT, Jiao et al., arXiv:1909.10351).",
        "parameters": {"layers": "required", "weight": 1.0, "temperature": 4.0},
    },
    {"method": "kd", "what": "Soft labels (Hinton et al., arXiv:1503.02531).", "parameters": {"temperature": 4.0}},
]
TARGETS = [
    {
        "target": "raspberry-pi-5-onnxruntime",
        "title": "Raspberry Pi 5, 8 GB, 64-bit, ONNX Runtime",
        "backend": "onnxruntime",
        "scheme": "int8-asymmetric",
    }
]
TASKS = [
    {
        "task": "detection",
        "what": "Detection: boxes and classes; outputs are centre heads (N, C + 4, H, W), labels boxes (N, M, 5).",
        "metrics": ["ap50", "ap", "ap30"],
        "options": {"stride": 8, "top_k": 100, "sure": 0.3, "size_weight": 0.1, "metric_name": "ap50", "unit": ""},
    },
    {
        "task": "sentence-pairs",
        "what": "Sentence pairs: rows 2i and 2i+1 are as alike as their score; outputs are sentence vectors (2N, D).",
        "metrics": ["spearman"],
        "options": {},
    },
]
RECIPES = [{"recipe": "minilm-sts-small", "what": "MiniLM-L6 teaches two of its layers, with narrow feed-forwards"}]
DRY_RUN = {
    "recipe": "mine.toml", "seconds": None,
    "stages": [
        {"stage": "teacher", "what": "mobilenet, 30 epochs", "seconds": {"low": 6121.4, "high": 9121.4}},
        {"stage": "target raspberry-pi-5-onnxruntime", "what": "onnxruntime, int8-asymmetric, ssh://pi"},
    ],
    "checked": [
        {"part": "data", "found": "8,000 train, 800 val, 2,000 test; 10 classes; inputs uint8 (1, 28, 28)"},
        {"part": "distillation 0: kd", "found": "works"}, {"part": "disk", "found": "needs about 88 MB; 67 GB free"},
    ],
    "warnings": [{"part": "target jetson-orin-nano", "warning": "TensorRT is not installed"}],
    "faults": [
        {"part": "recipe", "fault": "student.trainin: unknown key; did you mean 'training'?"},
        {"part": "teacher", "fault": "model 'timm:resnet18': timm is not installed", "next": "pip install timm"},
    ],
}  # fmt: skip
VIEWS: list[tuple[str, Any, Any, Any]] = [
    ("run", RUN, summary, lambda run: last_line.of_run(run, Path("runs/quickstart/report.html"))),
    ("export", EXPORT, None, last_line.of_export),
    ("bench", BENCH, bench_table, last_line.of_bench),
    ("bench of one", BENCH[:1], bench_table, last_line.of_bench),
    ("compare", COMPARE, compare_table, last_line.of_compare),
    ("verify", VERDICT, verify_view, last_line.of_verify),
    ("doctor", PARTS, doctor_view, last_line.of_doctor),
    ("devices", DEVICES, None, last_line.of_devices),
    ("targets", TARGETS, None, last_line.of_targets),
    ("methods", METHODS, None, last_line.of_methods),
    ("tasks", TASKS, None, last_line.of_tasks),
    ("recipes", RECIPES, None, last_line.of_recipes),
    ("run --dry-run", DRY_RUN, dry_run_view, last_line.of_dry_run),
]

if __name__ == "__main__":
    for name, document, view, last in VIEWS:
        terminal.say(f"$ edgekd {name}")
        terminal.show(document, False, view, last)
        terminal.say("")
