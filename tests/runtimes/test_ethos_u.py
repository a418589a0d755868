"""Networks that people deploy, on Arm's NPUs: nothing of them is left to the CPU, and what would be is named."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edgekd.package_data import TARGETS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from networks import Graphs
from runtimes import ROWS, Place, cell

pytestmark = pytest.mark.slow
SMALLEST = "ethos-u55-128"


def placed(name: str, target: str) -> dict[str, Any]:
    return cell(Graphs(ROWS[name]), Place(target))


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "u-net", "mobilenet-v2"])
def test_a_network_is_proven_and_wholly_on_the_npu(name: str) -> None:
    found = placed(name, SMALLEST)
    assert found["status"] == "ok", found["reason"]
    assert found["kernels"][0] == found["kernels"][1] > 7
    assert found["footprint"]["cpu_ops"] == 0
    assert "p50" not in found  # no time of this host is the NPU's


@pytest.mark.parametrize("name", ["ds-cnn", "u-net"])
def test_float_borders_cost_the_outer_quantisers_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "floats.toml"
    path.write_text((TARGETS / f"{SMALLEST}.toml").read_text().replace('"int8"\n', '"float"\n'))
    found = placed(name, str(path))
    assert found["status"] == "ok", found["reason"]
    assert found["footprint"]["cpu_ops"] == 2


def test_attention_is_refused_by_node_and_reason() -> None:
    found = placed("vit-tiny", SMALLEST)
    assert found["status"] == "refused"
    assert found["reason"].startswith("node '")
    assert f"is not for {SMALLEST}: " in found["reason"]
