"""A user's own module on its way to a bundle, by samples as users have them, and what is refused on that way."""

import numpy as np
import onnx
import pytest
import torch
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgekd
from edgekd.bundle import load_bundle
from edgekd.errors import BadInputError
from edgekd.quantization.qat import export_float
from edgekd.training.sample_inputs import as_arrays, sample_inputs

FLOAT = onnx.TensorProto.FLOAT
TARGET = "x86-onnxruntime"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def images(count=80):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Optional(nn.Module):
    """Takes a mask if there is one."""

    def forward(self, x, mask=None):
        return x if mask is None else x * mask


class Named(nn.Module):
    """As a model of transformers: labels are a parameter, too."""

    def forward(self, ids, mask, labels=None):
        return {"logits": (ids * mask).float()}


x, y = images(), torch.arange(80) % 3
PLAIN = [
    x,
    x.numpy().astype(np.float64),
    (x, y),
    {"input": x, "labels": y},
    DataLoader(TensorDataset(x, y), 32),
    TensorDataset(x, y),
    [x[:50], x[50:]],
]


@pytest.mark.parametrize("samples", PLAIN, ids=lambda value: type(value).__name__)
def test_samples_of_any_kind_are_the_same_samples(samples):
    found = as_arrays(network(), sample_inputs(samples, network(), 70))
    assert list(found) == ["input"]
    assert np.array_equal(found["input"], x[:70].numpy())


def test_samples_of_several_inputs(tmp_path):
    ids, mask = torch.arange(20).view(10, 2), torch.ones(10, 2).long()
    np.savez(tmp_path / "samples.npz", ids=ids.numpy().astype(np.int32), mask=mask)
    named = {"ids": ids, "mask": mask, "labels": torch.zeros(10)}
    for samples in ((ids, mask), named, [named], ((ids, mask), y[:10]), (named, y[:10]), tmp_path / "samples.npz"):
        found = as_arrays(Named(), sample_inputs(samples, Named()))
        assert list(found) == ["ids", "mask"]
        assert np.array_equal(found["ids"], ids)


def failing():
    yield x[:8]
    raise OSError("disk is gone")


@pytest.mark.parametrize(
    ("model", "samples", "message"),
    [
        (network(), [], "there are none"),
        (network(), 3, "a loader, a Dataset or an npz are wanted, not int"),
        (network(), images()[:, :, :4], r"the model cannot take float32 \(2, 1, 4, 8\)"),
        (network(), failing(), "batch 1: OSError: disk is gone"),
        (Optional(), (x, y), r"2 tensors a batch for a model that takes \(x, mask\): which of them"),
        (Named(), (x,), r"1 tensors a batch for a model that takes \(ids, mask, labels\)"),
        (Named(), {"ids": x, "mask": x[:3]}, r"the inputs of batch 0 have \[64, 3\] samples"),
    ],
)
def test_samples_that_do_not_fit_are_one_line(model, samples, message):
    with pytest.raises(BadInputError, match=message):
        sample_inputs(samples, model)


def test_a_float_module_and_its_file_become_bundles(tmp_path):
    model = network()
    module = edgekd.export(model, TARGET, tmp_path, samples=(x, y), name="mine")
    assert (module.name, load_bundle(module).precision) == (f"mine-{TARGET}", "int8")
    plain = edgekd.export(model, TARGET, tmp_path, samples=x, precision="float", name="plain")
    assert load_bundle(plain).precision == "float"
    with torch.no_grad():
        answers = model(x)

    def distance(outputs, labels):
        return np.abs(outputs - answers.numpy()).max()

    assert edgekd.evaluate(plain, (x, y), distance).value < 1e-4  # float32 sums in another order
    assert edgekd.evaluate(module, (x, answers.argmax(1)), "accuracy").value > 0.9
    path = tmp_path / "net.onnx"
    path.write_bytes(export_float(model, x[:2]).SerializeToString())
    assert load_bundle(edgekd.export(path, TARGET, tmp_path, samples=x)).name == "net"
    with pytest.raises(BadInputError, match="does not say what it was taught"):
        edgekd.evaluate(module, (x, y))
    with pytest.raises(BadInputError, match=f"has {len(x)} samples, labels 63"):
        edgekd.evaluate(module, (x, y[:63]), distance)
    with pytest.raises(BadInputError, match="takes input; data has 2 arrays"):
        edgekd.evaluate(module, ([x, x], y), distance)


def test_a_bundle_says_what_it_was_taught_where_somebody_says_so(tmp_path):
    """Then classes have to agree and labels score it; without a word it is judged by its distance alone."""
    onnx.save(export_float(network(), x[:2]), tmp_path / "net.onnx")
    prepared = edgekd.prepare(network(), TARGET, x)
    for number, (model, precision) in enumerate([(prepared, "int8"), (tmp_path / "net.onnx", "float")]):
        bundle = edgekd.export(
            model, TARGET, tmp_path / f"{number}", samples=x, precision=precision, task="classification"
        )
        manifest = load_bundle(bundle)
        assert (manifest.task.name, manifest.outputs[0].labels) == ("classification", ("0", "1", "2"))
        assert manifest.tolerance == {"max_steps": 2.0, "agreement": 0.99}
        assert 0 < edgekd.evaluate(bundle, (x, y)).value < 1
    bundle = edgekd.export(network(), TARGET, tmp_path / "free", samples=x, task="regression")
    manifest = load_bundle(bundle)
    assert (manifest.task.name, manifest.outputs[0].labels) == ("regression", None)
    assert manifest.tolerance == {"max_steps": 2.0}
    assert edgekd.evaluate(bundle, (x, torch.zeros(80, 3))).metric.name == "rmse"
    with pytest.raises(BadInputError, match="unknown task 'regresion'; did you mean 'regression'"):
        edgekd.export(network(), TARGET, tmp_path, samples=x, task="regresion")


def test_what_cannot_be_exported_is_one_line(tmp_path):
    prepared = edgekd.prepare(network(), "int8-symmetric", samples=x)
    with pytest.raises(BadInputError, match=r"needs prepare\(…, target='x86-onnxruntime'\)"):
        edgekd.export(prepared, TARGET, tmp_path, samples=x)
    with pytest.raises(BadInputError, match="for the precision float export the float model"):
        edgekd.export(prepared, TARGET, tmp_path, samples=x, precision="float")
    with pytest.raises(BadInputError, match="samples=…"):
        edgekd.export(network(), TARGET, tmp_path)
    with pytest.raises(BadInputError, match="unknown target 'pixel'"):
        edgekd.prepare(network(), "pixel", samples=x)


def test_learned_steps_and_frozen_observers():
    learned = edgekd.prepare(network(), "pixel-9", samples=x, ranges="lsq")
    assert any(name.endswith("step") for name, _ in learned.named_parameters())
    prepared = edgekd.prepare(network(), "pixel-9", samples=x).train()
    edgekd.freeze_observers(prepared)
    before = {name: value.clone() for name, value in prepared.state_dict().items() if name.endswith(".high")}
    prepared(10 * x)
    assert all(torch.equal(prepared.state_dict()[name], value) for name, value in before.items())
    edgekd.recalibrate_batchnorm(prepared, samples=x)
    norm = prepared.get_submodule("1")
    shown = norm.running_mean.clone()
    edgekd.recalibrate_batchnorm(prepared, samples=0.5 * x)
    assert not torch.allclose(norm.running_mean, shown, atol=1e-3)


def test_an_input_may_be_called_as_an_option_of_numpys(tmp_path):
    x, y = (make_tensor_value_info(name, FLOAT, ["n", 3]) for name in ("file", "y"))
    graph = make_graph([make_node("Relu", ["file"], ["y"])], "g", [x], [y])
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)]), tmp_path / "net.onnx")
    samples = {"file": np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)}
    bundle = edgekd.export(tmp_path / "net.onnx", TARGET, tmp_path, samples=samples, precision="float")
    assert load_bundle(bundle).inputs[0].name == "file"
