"""Variants as a target's device answers them."""

import sys
from pathlib import Path

import numpy as np
import onnx

from edgekd.backends.reference import Reference
from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split
from edgekd.pipeline.deploy import DeployContext, deploy
from edgekd.pipeline.stages import Stages
from edgekd.progress import SILENT
from edgekd.recipe import Recipe
from edgekd.target import load_target
from tests import factories

TARGET = load_target("x86-onnxruntime")
# The real runner; of the float bundle's last test sample, and of nothing else, it answers nan.
ASTRAY = f"""#!{sys.executable}
import subprocess, sys
import numpy as np
code = subprocess.call([sys.executable, *sys.argv[1:]])
if "predict" in sys.argv and sys.argv[3].endswith("-float"):
    path = sys.argv[sys.argv.index("--output") + 1]
    (name, answers), = np.load(path).items()
    answers[-1, -1] = np.nan
    np.savez(path, **{{name: answers}})
sys.exit(code)
"""


def test_a_variant_that_answers_nan_for_one_sample_is_broken(tmp_path: Path) -> None:
    astray = tmp_path / "astray"
    astray.write_text(ASTRAY)
    astray.chmod(0o755)
    graphs = {"float": factories.float_dscnn(), TARGET.scheme: factories.qdq_dscnn()}
    paths = {scheme: tmp_path / f"{scheme}.onnx" for scheme in graphs}
    for scheme, graph in graphs.items():
        onnx.save(graph, paths[scheme])
    x = factories.inputs_for(graphs["float"], 96)
    samples = Split(x, Reference(graphs["float"]).run({"input": x})["logits"].argmax(1))
    train, val, test = (samples.take(part) for part in np.split(np.arange(len(x)), [8, 56]))
    data = Dataset("made", train, val, test, tuple("abcdefghijkl"), Preprocessing())
    context = DeployContext(
        recipe(f"local:?python={astray}"), data, Stages(tmp_path / "run", SILENT), SILENT, paths, {}
    )
    found = deploy(context, TARGET, {"float": 1.0, TARGET.scheme: 0.95}, timed=False)
    assert found.status == "ok", found.reason
    assert found.variants["float"].broken == "its output is not finite"
    assert found.variants["int8"].broken is None
    assert isinstance(found.variants["float"].metric, float)
    assert 0 <= found.variants["float"].metric <= 1


def recipe(device: str) -> Recipe:
    network = {"model": "ds-cnn"}
    document = {"name": "made", "data": {"name": "made"}, "teacher": network, "student": network}
    document |= {"distillation": [{"method": "kd"}], "targets": [TARGET.name], "devices": {TARGET.name: device}}
    return Recipe.parse(document, "the test")
