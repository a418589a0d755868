"""A student that is taught in a second: random convolutions, and a classifier fitted to them by least squares."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.data import Dataset, load, prepare
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Data
from edgekd.target import Target
from tests.factories import Net, normalised, reference

LESSONS, CALIBRATION, RIDGE = 2000, 64, 10.0


def taught(data: Dataset) -> onnx.ModelProto:
    """A float network that is right about four images in five."""
    net = Net(0, data.train.inputs.shape[1:])
    x = net.relu(net.conv("input", 1, 16, kernel=5, strides=[2, 2]))
    x = net.relu(net.conv(x, 16, 32, strides=[2, 2]))
    features = net.op("Flatten", x, axis=1)
    images = prepare(data.train.inputs[:LESSONS], data.preprocessing)
    model = normalised(net.model(net.gemm(features, 32 * 7 * 7, len(data.classes))), images[:256])
    known = reference(model, images, [features])[features]
    known = np.concatenate([known, np.ones((len(known), 1), known.dtype)], axis=1)
    wanted = np.eye(len(data.classes), dtype=known.dtype)[data.train.labels[:LESSONS]]
    weight = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ wanted).T.astype(np.float32)
    values = dict(zip(model.graph.node[-1].input[1:], (weight[:, :-1], weight[:, -1]), strict=True))
    for constant in model.graph.initializer:
        if constant.name in values:
            constant.CopyFrom(numpy_helper.from_array(values[constant.name], constant.name))
    return model


def write_student(folder: Path, target: Target) -> Dataset:
    """The student's int8 bundle for a target, and the data that it was taught with."""
    data = load(Data(name="fashion-mnist-subset"), 0)
    model = taught(data)
    images = prepare(data.train.inputs[-CALIBRATION:], data.preprocessing)
    quantized = calibrate(model, find_scheme(target.scheme), [{"input": images}])
    inputs = {"input": images}
    write_bundle(
        quantized,
        target,
        folder,
        "int8",
        name="student",
        inputs=inputs,
        outputs=Reference(quantized).run(inputs),
        preprocessing=data.preprocessing,
        labels=data.classes,
    )
    return data
