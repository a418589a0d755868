"""Compiles a model and runs it in LiteRT, so that tests compare real kernels with ONNX Runtime."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekd.backends.compiled import Compiled, Precision
from edgekd.backends.reference import output_steps
from edgekd.backends.tflite.compile import compile as compile_tflite
from edgekd.target import Target
from tests import factories

Array = np.ndarray[Any, Any]
Kernels = Literal["reference", "xnnpack"]


@dataclass(frozen=True)
class Model:
    """A compiled model: its bytes, what the backend says of it, and the step of each output."""

    content: bytes
    compiled: Compiled
    steps: dict[str, float | None]

    @property
    def graph(self) -> Any:
        """The flatbuffer as objects."""
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.content)).subgraphs[0]

    @property
    def ops(self) -> list[str]:
        """TFLite's op names, in order."""
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        codes = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.content)).operatorCodes
        return [names[codes[op.opcodeIndex].builtinCode] for op in self.graph.operators]

    def tensor(self, name: str) -> Any:
        """A tensor of the flatbuffer, by its ONNX name."""
        return next(tensor for tensor in self.graph.tensors if tensor.name.decode() == name)

    def interpreter(self, kernels: Kernels = "xnnpack") -> Any:
        resolver = OpResolverType.BUILTIN_REF if kernels == "reference" else OpResolverType.AUTO
        return Interpreter(model_content=self.content, num_threads=1, experimental_op_resolver_type=resolver)

    def run(self, x: Array, kernels: Kernels = "xnnpack") -> dict[str, Array]:
        """Outputs by name, in ONNX's layout; `x` is in ONNX's layout too and may have any batch."""
        interpreter = self.interpreter(kernels)
        stored = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, stored.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, stored)
        interpreter.invoke()
        values = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        return {
            spec.name: value.transpose(0, 3, 1, 2) if spec.layout == "NHWC" else value
            for spec, value in zip(self.compiled.outputs, values, strict=True)
        }


def build(
    model: onnx.ModelProto, precision: Precision = "int8", batch: int = 1, io: Literal["int8", "float"] = "float"
) -> Model:
    target = Target(name="test", title="test", backend="tflite", scheme="int8-asymmetric", batch=batch, io=io)
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_tflite(model, target, Path(folder), precision)
        return Model((Path(folder) / compiled.model).read_bytes(), compiled, output_steps(model))


def steps_apart(model: onnx.ModelProto, x: Array, kernels: Kernels = "xnnpack", batch: int = 1) -> float:
    """Largest distance between LiteRT and ONNX Runtime over all outputs, in output steps."""
    return distance(build(model, batch=batch), factories.reference(model, x), x, kernels)


def distance(built: Model, expected: dict[str, Array], x: Array, kernels: Kernels) -> float:
    """Largest distance of a compiled model's outputs from the expected ones, in output steps."""
    found = built.run(x, kernels)
    distances = []
    for spec in built.compiled.outputs:
        step = built.steps[spec.name]
        assert step is not None
        assert found[spec.name].shape == expected[spec.name].shape
        distances.append(np.abs(found[spec.name] - expected[spec.name]).max() / step)
    return float(max(distances))


def float_distance(model: onnx.ModelProto, x: Array) -> float:
    """Largest difference over all outputs between a float32 .tflite and ONNX Runtime, relative to values above 1."""
    expected, found = factories.reference(model, x), build(model, "float").run(x)
    scales = {name: max(1.0, float(np.abs(value).max())) for name, value in expected.items()}
    return max(float(np.abs(found[name] - expected[name]).max()) / scales[name] for name in expected)
