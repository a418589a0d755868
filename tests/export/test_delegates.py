"""What LiteRT's delegates take of a model, and what they leave to the CPU."""

import shutil
import subprocess
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.backends import find_backend
from edgekd.target import Target
from tests.export.runner import failure, run
from tests.factories import Net
from tests.measure.bundles import MakeBundle, edit_manifest, golden, rehash
from tests.missing import miss

ADD, RESHAPE, NONE = 0, 22, -1  # tensorflow/lite/builtin_ops.h
CHROMIUM = Path("/usr/lib/chromium")
SOURCE = Path(__file__).with_name("delegate.c")


def build(folder: Path, delegate: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of loading, and the kernels."""
    code, records = run("build", folder, "--option", f"delegate={delegate}")
    assert code == 0, records[-1]
    return records[1]["details"], records[2]


@pytest.fixture
def signed(bundle: MakeBundle, tmp_path: Path) -> Path:
    """Two convolutions with a SIGN between them, for which XNNPACK has no kernel."""
    net = Net(0, (3, 8, 8))
    y = net.conv(net.op("Sign", net.conv("input", 3, 4)), 4, 4)
    folder = tmp_path / "signed"
    shutil.copytree(bundle("tflite", "float"), folder)
    target = Target(name="t", title="t", backend="tflite", scheme="int8-asymmetric")
    compiled = find_backend("tflite").compile(net.model(y), target, folder, "float")
    outputs = [spec.model_dump() for spec in compiled.outputs]
    edit_manifest(folder, inputs=[spec.model_dump() for spec in compiled.inputs], outputs=outputs)
    rehash(folder)
    return folder


@pytest.mark.parametrize(("delegate", "taken"), [("xnnpack", 19), ("none", 0)])
def test_a_delegate_takes_all_or_nothing(bundle: MakeBundle, delegate: str, taken: int) -> None:
    details, kernels = build(bundle("tflite"), delegate)
    assert (kernels["delegated"], kernels["fallback"]) == (taken, 19 - taken)
    assert (details["delegate"], details["delegated"]) == (delegate, f"{taken} of 19")
    assert details["precision"] == "f32"


def test_what_a_delegate_leaves_is_counted_between_its_parts(signed: Path) -> None:
    details, kernels = build(signed, "xnnpack")
    assert kernels["ops"] == {"CONV_2D": 2, "SIGN": 1, "DELEGATE": 2}
    assert (kernels["delegated"], kernels["fallback"], details["delegated"]) == (2, 1, "2 of 3")


@pytest.mark.parametrize(("kind", "taken"), [(ADD, 3), (RESHAPE, 1), (NONE, 0)])
def test_a_library_is_a_delegate_of_which_xnnpack_has_the_rest(
    bundle: MakeBundle, tmp_path: Path, kind: int, taken: int
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    library = tmp_path / "some.so"
    subprocess.run(["cc", "-shared", "-fPIC", f"-DTAKES={kind}", "-o", library, SOURCE], check=True)
    details, kernels = build(bundle("tflite"), str(library))
    assert (kernels["delegated"], kernels["fallback"]) == (taken, 19 - taken)
    assert kernels["ops"]["DELEGATE"] > taken  # XNNPACK's parts, which are no part of the library's
    assert (details["delegate"], details["precision"]) == ("some.so", "the delegate's")  # nothing of where it lies


@pytest.mark.parametrize(
    ("delegate", "code", "told"),
    [
        ("/no/such.so", 3, "delegate=/no/such.so: no such delegate here: install it, or choose delegate=xnnpack"),
        ("libc.so.6", 3, "delegate=libc.so.6: no such delegate here"),  # another library
        ("nnapi", 3, "LiteRT for Python has no NNAPI: name a delegate's library"),
        ("turbo", 2, "delegate=turbo: expected xnnpack, none, gpu, nnapi or a delegate's library, some.so"),
    ],
)
def test_a_delegate_that_is_not_there_is_one_line_of_advice(
    bundle: MakeBundle, delegate: str, code: int, told: str
) -> None:
    found = run("build", bundle("tflite"), "--option", f"delegate={delegate}")
    assert (found[0], "\n" in found[1][-1]["error"]) == (code, False)
    assert found[1][-1]["error"].startswith(told)


@pytest.mark.parametrize("path", ["/tmp/evil.so", "../evil.so", "..\\evil.so"])
def test_a_bundle_may_not_bring_a_library_along(own_bundle: Path, path: str) -> None:
    """Whoever gives a bundle away is not to choose what code it loads; who runs it is, by --option."""
    edit_manifest(own_bundle, backend="tflite", runtime={"delegate": path})
    told = "manifest.json: a runtime option names a path, which only --option may"
    assert failure("build", own_bundle) == (2, "bad-input", told)


def test_without_vulkan_there_is_no_gpu(bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/dev/null")  # hides drivers where there are some
    monkeypatch.setenv("VK_DRIVER_FILES", "/dev/null")
    code, records = run("build", bundle("tflite"), "--option", "delegate=gpu")
    told = "LiteRT finds no GPU here: it needs a Vulkan driver and libvulkan.so.1"
    assert (code, records[-1]["kind"], records[-1]["error"]) == (3, "missing-runtime", told)


@pytest.fixture
def vulkan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chromium's own Vulkan, SwiftShader, which computes on the CPU; a GPU's where there is no Chromium."""
    driver = CHROMIUM / "vk_swiftshader_icd.json"
    if driver.exists():
        monkeypatch.setenv("VK_ICD_FILENAMES", str(driver))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(CHROMIUM))
    elif find_library("vulkan") is None:
        miss("browser", "no Vulkan here, which Chromium's SwiftShader brings")


@pytest.mark.usefixtures("vulkan")
def test_on_a_gpu_the_float_model_computes_what_the_reference_does(bundle: MakeBundle, tmp_path: Path) -> None:
    """Not so the int8 model: LiteRT 2.3's GPU is wrong after a 1 x 1 convolution of stride 2, as `verify` finds."""
    folder, option = bundle("tflite", "float"), ("--option", "delegate=gpu", "--batch", "4")
    details, kernels = build(folder, "gpu")
    assert (kernels["delegated"], kernels["fallback"], kernels["int8"]) == (17, 0, 0)
    assert (details["delegated"], details["precision"]) == ("17 of 17", "f32")
    np.savez(tmp_path / "in.npz", input=golden(folder, "input:input")[:7])
    run("predict", folder, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out", *option)
    expected = golden(folder, "output:logits")[:7]
    with np.load(tmp_path / "out") as outputs:
        # float32 sums in another order, as on the CPU
        np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4 * np.ptp(expected))
    latency = run("bench", folder, "--seconds", "0.05", "--count", "5", *option)[1][2]
    assert min(latency["samples_ms"]) > 0
