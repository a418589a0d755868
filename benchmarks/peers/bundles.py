"""Bundles of our own models and of those of others, so that one runner measures all of them alike."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekd.backends.assemble import write_bundle
from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.reference import Reference
from edgekd.bundle import MANIFEST, TensorSpec, identify, load_bundle
from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure import operator_coverage, predict
from edgekd.target import Target, load_target

Array = np.ndarray[Any, Any]
BACKENDS = ("openvino", "onnxruntime", "tflite", "reference")
GOLDEN = 32


def target(backend: str) -> Target:
    """The chip here; TFLite with int8 inputs and outputs, as its peer has them."""
    io = "int8" if backend == "tflite" else "float"
    return load_target(f"x86-{backend}").model_copy(update={"io": io})


def write(model: onnx.ModelProto, backend: str, folder: Path, samples: Array) -> None:
    """A bundle of ours."""
    inputs = {"input": samples[:GOLDEN]}
    outputs = Reference(model).run(inputs)
    write_bundle(model, target(backend), folder, "int8", name=folder.name, inputs=inputs, outputs=outputs)


def adopt(model: Path, backend: str, template: Path, folder: Path, samples: Array) -> None:
    """A bundle of a foreign model file, which is left as it is; `template` is a bundle of ours for the same student."""
    manifest = load_bundle(template)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    for name in manifest.model_files:
        (folder / name).unlink()
    names = _place(model, backend, folder)
    inputs, outputs = _tensors(folder / names[0]) if backend == "tflite" else (manifest.inputs, manifest.outputs)
    answers = {f"output:{spec.name}": np.zeros((1, *spec.shape[1:]), spec.dtype) for spec in outputs}
    golden = {f"input:{spec.name}": to_bundle(spec, samples[:1]) for spec in inputs} | answers
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    others = [name for name in manifest.files if name not in manifest.model_files]
    changed = {"inputs": inputs, "outputs": outputs, "files": identify(folder, [*names, *others])}
    write_json(folder / MANIFEST, manifest.model_copy(update=changed).model_dump(mode="json"))


def _place(model: Path, backend: str, folder: Path) -> list[str]:
    """Copy a model's files; ONNX for OpenVINO becomes IR as its own documentation does it."""
    if backend == "openvino" and model.suffix == ".onnx":
        import openvino

        openvino.save_model(openvino.convert_model(model), folder / "model.xml")
        return ["model.xml", "model.bin"]
    names = [model.name, *([f"{model.stem}.bin"] if model.suffix == ".xml" else [])]
    for name in names:
        shutil.copy(model.with_name(name), folder / name)
    return names


def _tensors(model: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Input and output of a TFLite file, under the names that ours have."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))
    found = {"input": interpreter.get_input_details()[0], "logits": interpreter.get_output_details()[0]}
    specs = tuple(_spec(name, detail) for name, detail in found.items())
    return specs[:1], specs[1:]


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = (None, *(int(size) for size in detail["shape"][1:]))
    return TensorSpec(
        name=name, dtype=np.dtype(detail["dtype"]).name,  # type: ignore[arg-type]
        shape=shape, layout="NHWC" if len(shape) == 4 else None, scale=scale or None, zero_point=int(zero_point),
    )  # fmt: skip


def answers(folder: Path, samples: Array, options: Mapping[str, str] | None = None) -> Array:
    """Logits of a bundle for float samples."""
    manifest = load_bundle(folder)
    source, answer = manifest.inputs[0], manifest.outputs[0]
    with closing(open_device("local:")) as device:
        outputs = predict(device, folder, {source.name: to_bundle(source, samples)}, manifest.batch, options)
    return from_bundle(answer, outputs[answer.name])


def kernels(folder: Path) -> list[int | None]:
    """How many kernels are int8, of how many."""
    with closing(open_device("local:")) as device:
        found = operator_coverage(device, folder)
    return [found.int8, found.total]
