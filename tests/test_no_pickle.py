"""No file is opened by a pickle that may call something: neither in the sources, nor by what they do with a bomb."""

import ast
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgekd
from edgekd.data import load
from edgekd.errors import BadInputError
from edgekd.onnx_import.inputs import read_inputs
from edgekd.recipe import Data
from edgekd.training.weights import load_weights

SOURCES = Path(edgekd.__file__).parent
OPENERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "pandas"}
ALLOW_LISTED = {"data/_arrays_only.py"}  # a package's data set; its unpickler makes arrays and nothing else
LOADERS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def openers(source: str) -> list[str]:
    """What a module imports or calls that would open a pickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in OPENERS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").partition(".")[0] in OPENERS else []
        elif isinstance(node, ast.Call):
            found += _call(node)
    return found


def _call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    unsafe = name in LOADERS and given.get(LOADERS[name][0]) is not LOADERS[name][1]
    return [name] if unsafe or given.get("allow_pickle", False) is not False else []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "import yaml.loader", "torch.load(path)", "np.load(path)",
     "torch.load(path, weights_only=safe)", "np.load(path, allow_pickle=True)", "npy.read_array(s, allow_pickle=yes)"],
)  # fmt: skip
def test_what_opens_pickles_is_found(source: str) -> None:
    assert openers(source)


def test_no_module_opens_a_pickle() -> None:
    modules = {path.relative_to(SOURCES).as_posix(): path for path in SOURCES.rglob("*.py")}
    found = {name for name, path in modules.items() if openers(path.read_text(encoding="utf-8"))}
    assert len(modules) > 200
    assert found == ALLOW_LISTED


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.fixture
def mark(tmp_path):
    """What must not be there in the end."""
    path = tmp_path / "exploded"
    yield path
    assert not path.exists()


def as_npy(mark: Path) -> bytes:
    header = b"\x93NUMPY\x01\x00"
    words = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return header + len(words).to_bytes(2, "little") + words + pickle.dumps(np.array([Bomb(mark)], object), protocol=4)


def as_npz(path: Path, mark: Path, names: tuple[str, ...]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", as_npy(mark))
    return path


def bombs(folder: Path, mark: Path, suffix: str, names: tuple[str, ...]) -> list[Path]:
    """The same bomb as arrays of an npz, as a plain pickle, and as torch.save writes it."""
    plain, saved = folder / f"plain{suffix}", folder / f"saved{suffix}"
    plain.write_bytes(pickle.dumps(Bomb(mark)))
    torch.save({name: Bomb(mark) for name in names}, saved)
    old = folder / f"old{suffix}"
    torch.save({name: Bomb(mark) for name in names}, old, _use_new_zipfile_serialization=False)
    return [as_npz(folder / f"arrays{suffix}", mark, names), plain, saved, old]


def test_the_bombs_are_live(tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    arrays, plain, *saved = bombs(tmp_path, mark, ".npz", ("x",))
    openers = [lambda: pickle.loads(plain.read_bytes()), lambda: np.load(arrays, allow_pickle=True)["x"]]
    openers += [lambda path=path: torch.load(path, weights_only=False) for path in saved]
    for explode in openers:
        explode()
        mark.unlink()  # it was there


def test_none_goes_off_as_data(tmp_path: Path, mark: Path) -> None:
    for path in bombs(tmp_path, mark, ".npz", ("x_train", "y_train", "x_test", "y_test")):
        with pytest.raises(BadInputError, match=path.stem):
            load(Data(name="npz", path=str(path)), seed=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ".ckpt", ".pth.tar", ""])
def test_none_goes_off_as_a_checkpoint(tmp_path: Path, mark: Path, suffix: str) -> None:
    for path in bombs(tmp_path, mark, suffix, ("weight", "bias")):
        with pytest.raises(BadInputError, match=path.stem.partition(".")[0]):
            load_weights(nn.Linear(2, 2), path)


def test_none_goes_off_as_calibration_samples(tmp_path: Path, mark: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [output]))
    for path in bombs(tmp_path, mark, ".npz", ("x",)):
        with pytest.raises(BadInputError, match=path.stem):
            read_inputs(model, path, 8)
