"""Where `edgekd export` gets its samples, several targets at once, and what it prints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from edgekd.errors import BadInputError
from edgekd.onnx_import.sample_options import image_samples
from edgekd.onnx_import.samples import ImageSamples, RandomSamples
from edgekd.quantization.observation import Observation
from tests.pipeline.test_foreign import float_net
from tests.quantization.onnx_models import model
from tests.small_run import complaint, edgekd


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    net, inputs = float_net()
    onnx.save(net, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", input=inputs)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(48):
        pixels = rng.integers(0, 256, (20, 30, 3)) * rng.uniform(0.2, 1, 3)
        place = tmp_path / "photos" / ("more" if number % 2 else ".")
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02}.png")
    return tmp_path


def export(folder: Path, *arguments: Any, targets: tuple[str, ...] = ("x86-onnxruntime",)) -> Any:
    named = [word for target in targets for word in ("--target", target)]
    return edgekd("export", folder / "m.onnx", *named, "--out", folder / "out", *arguments)


def test_several_targets_share_what_the_samples_show(folder: Path) -> None:
    done = export(folder, "--calibration", folder / "x.npz", "--json", targets=("x86-onnxruntime", "x86-tflite"))
    assert done.exit_code == 0, done.stderr
    reports = json.loads(done.stdout)
    assert [(report["target"], report["status"]) for report in reports] == [
        ("x86-onnxruntime", "ok"), ("x86-tflite", "ok"),
    ]  # fmt: skip
    alone = export(folder, "--calibration", folder / "x.npz", "--json", targets=("x86-tflite",))
    assert json.loads(alone.stdout) == reports[1]


def test_one_of_several_targets_that_refuses_a_model_does_not_keep_the_others_from_it(folder: Path) -> None:
    net = model([helper.make_node("Hardmax", ["x"], ["y"])], {}, ("N", 3, 4, 4))
    onnx.save(net, folder / "m.onnx")
    done = export(folder, "--random", 32, "--json", targets=("x86-tflite", "x86-onnxruntime"))
    assert done.exit_code == 2
    refused, proven = json.loads(done.stdout)
    assert (refused["status"], proven["status"], proven["precision"]) == ("refused", "fallback", "float")
    assert proven["reason"] == "nothing in it gains by int8: it has no layer with weights"
    assert "this op has no TFLite form" in refused["reason"]
    assert refused["reason"].endswith("; it was exported for x86-onnxruntime")
    assert refused["next"] == f"edgekd bench {proven['bundle']}"
    assert "next" not in proven
    assert done.stderr.startswith("error: x86-tflite: ")
    assert done.stderr.endswith(f" · next: {refused['next']}\n")


def test_each_target_that_refuses_a_model_has_its_own_command_in_the_table_and_on_the_page(folder: Path) -> None:
    onnx.save(model([helper.make_node("Hardmax", ["x"], ["y"])], {}, ("N", 3, 4, 4)), folder / "m.onnx")
    page, targets = folder / "layers.html", ("x86-tflite", "x86-onnxruntime", "pixel-9")
    done = export(folder, "--random", 32, "--html", page, targets=targets)
    told = done.stdout.replace("\n        ", " ")
    steps = [line.split()[2] for line in told.splitlines() if line.startswith("next ")]
    assert steps == ["bench", "bench"]
    sections = page.read_text().split("<section>")[1:]
    for section, target, step in zip(sections, ("x86-tflite", "pixel-9"), steps, strict=False):
        assert f"<h2>{target} refused</h2>" in section
        assert f"<p>Next: <code>edgekd {step} " in section


def test_what_has_nothing_for_int8_is_written_where_nothing_can_run_it(folder: Path) -> None:
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", 3, 4, 4)), folder / "m.onnx")
    done = export(folder, "--random", 32, targets=("jetson-orin-nano",))
    assert done.exit_code == 4, done.stderr
    assert "it has no layer with weights" in done.stdout
    assert (folder / "out" / "m-jetson-orin-nano" / "model.onnx").is_file()


def test_what_a_backend_refuses_it_refuses_before_anything_is_calibrated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model([helper.make_node("Hardmax", ["x"], ["y"])], {}, ("N", 3, 4, 4)), folder / "m.onnx")
    monkeypatch.setattr(Observation, "look", None)
    assert "this op has no TFLite form" in complaint(export(folder, "--random", 32, targets=("x86-tflite",)), 2)


def test_the_table_says_what_to_ship_and_how_far_from_float_it_is(folder: Path) -> None:
    done = export(folder, "--calibration", folder / "x.npz", "--bench")
    lines = {line[:12].strip(): line[12:].strip() for line in done.stdout.splitlines() if line[:1].strip()}
    assert lines["ship"] == "int8"
    assert lines["layers"] == "3 of 3 in int8"
    assert " float here" in lines["speed"]  # it may be unclear
    assert lines["from float"].endswith("dB at the worst part of the outputs")
    assert "next: edgekd bench" in done.stdout


def test_a_folder_of_images_is_samples(folder: Path) -> None:
    done = export(folder, "--images", folder / "photos", "--mean", 0.5, "--std", 0.25, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_noise_is_samples_that_say_what_they_are_worth(folder: Path) -> None:
    done = export(folder, "--random", 32, "--json")
    assert done.exit_code == 0, done.stderr
    assert any(
        note.startswith("calibrated on noise: good for size, speed") for note in json.loads(done.stdout)["notes"]
    )


@pytest.mark.parametrize("last", [False, True])
def test_pixels_are_scaled_moved_and_arranged_as_the_model_takes_them(tmp_path: Path, last: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    net = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", 6, 4, 3) if last else ("N", 3, "h", "w"))
    samples = ImageSamples(tmp_path, (6, 4), 1 / 255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), bgr=True)
    wanted = (pixels[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    found = samples.read(net, 8, {})["x"][0]
    np.testing.assert_allclose(found if last else found.transpose(1, 2, 0), wanted, atol=1e-5)
    assert samples.shapes(net) == {"x": (1, 6, 4, 3) if last else (1, 3, 6, 4)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "photos", "--random", 8], "give one of them"),
        (["--images", "photos", "--size", "12*12"], "expected 640, or height and width"),
        (["--images", "photos", "--scale", "a"], "expected a number, as 1/255"),
        (["--images", "photos", "--mean", 1, "--mean", 2], "once for each of three channels"),
        (["--images", "nowhere"], "no such folder"),
    ],
)
def test_wrong_options_are_one_line(folder: Path, arguments: list[Any], message: str) -> None:
    placed = [folder / word if word in {"photos", "nowhere"} else word for word in arguments]
    assert message in complaint(export(folder, *placed), 2)


def test_what_cannot_be_made_up_names_what_to_type() -> None:
    free = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", 3, "h", "w"))
    with pytest.raises(BadInputError, match=r"--shape x=1,3,\?,\?"):
        RandomSamples(4, {}).read(free, 8, {})
    with pytest.raises(BadInputError, match="give --size HEIGHTxWIDTH"):
        image_samples(Path("photos"), None, "1", (0.0,), (1.0,), bgr=False).shapes(free)
    assert RandomSamples(4, {"x": (1, 3, 5, 6)}).read(free, 8, {})["x"].shape == (4, 3, 5, 6)


@pytest.mark.parametrize("size", ["16", "8x16"])
def test_images_are_not_asked_for_in_another_size_than_the_model_fixes(size: str) -> None:
    net = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", 3, 8, "w"))
    net.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 12
    with pytest.raises(BadInputError, match="'x' has a fixed size: give --size 8x12"):
        image_samples(Path("photos"), size, "1", (0.0,), (1.0,), bgr=False).shapes(net)


@pytest.mark.parametrize(("channels", "told"), [(4, "has 4 channels"), ("c", "has any number of channels")])
def test_images_are_not_of_any_number_of_channels(channels: int | str, told: str) -> None:
    net = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", channels, 8, 8))
    with pytest.raises(BadInputError, match=rf"'x' {told}, images 1 or 3: use --calibration X.npz"):
        image_samples(Path("photos"), "8", "1", (0.0,), (1.0,), bgr=False).shapes(net)


def test_all_that_cannot_be_made_up_is_asked_for_at_once() -> None:
    net = model([helper.make_node("Add", ["x", "z"], ["y"])], {}, ("N", 3, "h", "w"))
    net.graph.input.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3, "h", 1]))
    with pytest.raises(BadInputError, match=r"--shape x=1,3,\?,\? --shape z=1,3,\?,1 \(numbers for \?\)"):
        RandomSamples(4, {}).read(net, 8, {})


def test_noise_names_no_word_that_a_table_does_not_have() -> None:
    net = model([helper.make_node("Gather", ["table", "x"], ["y"])], {"table": np.ones((7, 2), np.float32)}, ("N", 40))
    net.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    found = RandomSamples(8, {}).read(net, 8, {})["x"]
    assert set(np.unique(found)) == set(range(7))


def test_noise_names_no_word_of_a_table_that_some_of_the_words_are_looked_up_in() -> None:
    """As a decoder does with the last word of a prefix, after its own first one."""
    tables = {"table": np.ones((7, 2), np.float32), "last": np.array(-1), "first": np.zeros((1, 1), np.int64)}
    net = model([helper.make_node("Concat", ["first", "x"], ["words"], axis=1),
                 helper.make_node("Gather", ["words", "last"], ["word"], axis=1),
                 helper.make_node("Gather", ["table", "word"], ["y"])], tables, ("N", 40))  # fmt: skip
    net.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    assert set(np.unique(RandomSamples(8, {}).read(net, 8, {})["x"])) == set(range(7))


def test_noise_fills_what_a_models_own_quantiser_holds() -> None:
    scale = {"s": np.float32(0.01), "z": np.array(30, np.uint8)}
    net = model([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                 helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], scale)  # fmt: skip
    found = RandomSamples(8, {}).read(net, 8, {})["x"]
    assert -0.30 <= found.min() < -0.25
    assert 2.2 < found.max() <= 2.25
