"""Small real documents, which fuzzing begins with."""

from edgekd.package_data import TARGETS

ANSWER = """\
{"record": "start", "pid": 1, "format": 1, "bundle": "b", "backend": "onnxruntime", "precision": "int8", \
"runtime": "onnxruntime", "runtime_version": "1.22", "python": "3.11.7", "machine": {"cpu": "x", "cores": 2}}
{"record": "load", "ms": 1.5, "cold": true, "details": {"precision": "f32"}}
{"record": "kernels", "int8": 3, "total": 3, "how": "counted", "ops": {"Conv": 3}}
{"record": "golden", "output": "y", "max_steps": 1.0, "p999_steps": 0.5, "argmax_agreement": 1.0, "ok": true}
{"record": "latency", "first_ms": 1.0, "samples_ms": [1.0, 1.5], "cpu_ms_min": 0.5, "load_average": 0.1, \
"peak_rss_mb": 10.0, "batch": 1, "threads": 1, "scenario": "single-stream", "affinity": null, "missing": {}}
{"record": "predictions", "path": "/tmp/x.npz", "n": 3}
{"record": "end", "ok": true}
"""
TARGET = (TARGETS / "x86-onnxruntime.toml").read_text(encoding="utf-8")
FLEET = '[[devices]]\nuri = "local:"\n[[devices]]\nuri = "ssh://user@host:22"\nhost = "board"\n'
SSH = 'Host board pi\n  HostName 10.0.0.2\n  User "me"\nInclude other/*\nMatch exec true\nHost *.example\n  Port = 22\n'
RUN = """{"schema": 2, "name": "tiny", "title": "Tiny", "machine": {"cpu": "x", "cores": 2}, "versions": {"numpy": "2"},
"seeds": [0], "metric_name": "accuracy", "data": {"name": "npz", "train": 9, "val": 1, "test": 3, "classes": 4},
"teacher": {"metric": {"mean": 0.9, "std": 0.0, "seeds": [0.9]}, "parameters": 10, "macs": 100},
"distillation": {"tax": 0.01, "gap_recovered": null, "agreement": 0.9, "reason": "one seed"},
"targets": {"x": {"backend": "tflite", "status": "ok", "reason": null, "device": "local:", "metric": {"mean": 0.8},
"metric_source": "device", "kernels": {"int8": 3, "total": 3}, "int8_pays": true,
"parity": [{"output": "y", "batch": 1, "n": 9, "step": 0.1, "max": 1.0, "p999": 0.5, "exact": 0.9, "agreement": 1.0,
"ok": true}],
"variants": {"int8": {"bytes": 10, "metric": 0.8, "latency_ms": null}}}},
"stages": [{"name": "teacher", "seconds": 1.5, "state": "fresh"}]}"""
