"""The examples, a few steps of each: they end with bundles that are proven on this machine, and stay short."""

import importlib.util
import io
import tokenize
import warnings
from pathlib import Path

import pytest

from edgekd.bundle import load_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
FEW = {
    "own_loop": {"steps": 40},
    "three_inputs": {"epochs": 1, "count": 512},
    "regression": {"epochs": 10, "count": 512},
    "segmentation": {"epochs": 2, "count": 192},
    "detector": {"epochs": 3, "count": 320},
    "two_heads": {"epochs": 4, "count": 512},
    "streaming": {"batches": 24},
}
GOOD = {  # better than chance, which is 1/8, 1/4, 26°, 0.25, 0.002, 0.25 beside 2/3, 1/4
    "own_loop": lambda accuracy: accuracy > 0.3,
    "three_inputs": lambda accuracy: accuracy > 0.3,
    "regression": lambda degrees: degrees < 22,
    "segmentation": lambda miou: miou > 0.3,
    "detector": lambda precision: precision > 0.02,
    "two_heads": lambda found: all(level < 0.22 and lamps > 0.75 for level, lamps in found),
    "streaming": lambda found: found[0] > 0.4,
}
RUNTIMES = {"two_heads": {"onnxruntime", "tflite", "openvino"}}
LINES = 40


def lines_of_code(source: str) -> int:
    """How many lines hold more than blanks, comments and texts that stand alone."""
    idle = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    rows, alone = set(), True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING and alone:
            continue
        alone = token.type in {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
        if token.type not in idle:
            rows.update(range(token.start[0], token.end[0] + 1))
    return len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_with_a_proven_bundle_better_than_chance(name, tmp_path):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # written, but not proven, or not in int8
        found = example.main(out=str(tmp_path), **FEW[name])
    bundles = [load_bundle(folder) for folder in tmp_path.iterdir()]
    assert {bundle.precision for bundle in bundles} == {"int8"}
    assert {bundle.backend for bundle in bundles} == RUNTIMES.get(name, {"onnxruntime"})
    assert GOOD[name](found)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short(name):
    assert lines_of_code((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")) <= LINES
