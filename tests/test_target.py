import pytest

from edgekd.backends import find_backend
from edgekd.errors import BadInputError
from edgekd.quantization.scheme import find_scheme
from edgekd.runner.machine import cores as read_cores
from edgekd.runner.runtime import check_options, plain
from edgekd.runtimes import find_runtime
from edgekd.target import Facts, builtin_targets, described, listed, load_target


@pytest.mark.parametrize("name", builtin_targets())
def test_built_in_targets_name_a_backend_and_a_scheme_that_exist(name):
    target = load_target(name)
    assert target.name == name
    find_backend(target.backend)
    find_scheme(target.scheme)
    assert target.sources


@pytest.mark.parametrize(("cores", "fits"), [("4-7", True), ("0,2", True), ("0-1,4", True), ("", False), ("4-", False)])
def test_affinity_names_cores(tmp_path, cores, fits):
    path = tmp_path / "own.toml"
    path.write_text(f'title = "own"\nbackend = "tflite"\nscheme = "int8-asymmetric"\naffinity = "{cores}"\n')
    if fits:
        assert load_target(str(path)).affinity == cores
        assert read_cores(cores)  # the runner reads it alike
    else:
        with pytest.raises(BadInputError, match="affinity"):
            load_target(str(path))


@pytest.mark.parametrize("key", ["memory_mb", "model_kb", "latency_ms"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1.0"])
def test_a_limit_is_a_positive_number(tmp_path, key, value):
    path = tmp_path / "own.toml"
    path.write_text(f'title = "own"\nbackend = "tflite"\nscheme = "int8-asymmetric"\n[limits]\n{key} = {value}\n')
    with pytest.raises(BadInputError, match=f"limits.{key}"):
        load_target(str(path))


def test_every_kind_of_device_has_a_target():
    """Those of the issue: two Pis, three Jetsons, three phones, an NPU and a GPU of Intel's, an RTX card, Cortex-M."""
    assert {
        *("raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "jetson-agx-orin", "jetson-thor", "pixel-9"),
        *("galaxy-s25", "galaxy-a55", "intel-npu", "intel-igpu", "rtx-4090", "tflm-cortex-m", "x86-tflite"),
    } <= set(builtin_targets())


@pytest.mark.parametrize("name", builtin_targets())
def test_options_of_built_in_targets_are_the_runners(name):
    target = load_target(name)
    options = {key: plain(value) for key, value in target.runtime.items()}
    check_options(target.backend, find_runtime(target.backend).chosen(options).OPTIONS, options)


def test_features_that_a_device_lacks_are_named_and_one_of_two_is_enough():
    facts = Facts(isa=("avx2", "avx512_vnni|avx_vnni"))
    assert facts.lacking(["avx2", "avx_vnni"]) == ()
    assert facts.lacking(["avx512_vnni"]) == ("avx2",)
    assert facts.lacking([]) == facts.isa


def test_one_target_is_described_in_full():
    document = described("raspberry-pi-5")
    assert document["isa"] == ["asimddp", "asimdhp"]
    assert (document["target"], document["cores"], document["threads"]) == ("raspberry-pi-5", 4, 4)
    assert any("vcgencmd" in step for step in document["prepare"])
    assert [row["target"] for row in listed()] == builtin_targets()


def test_lookup_order_is_path_then_folder_then_built_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_target("x86-tflite").title.startswith("x86-64")
    (tmp_path / "targets").mkdir()
    description = 'title = "{}"\nbackend = "tflite"\nscheme = "int8-asymmetric"\n'
    (tmp_path / "targets" / "x86-tflite.toml").write_text(description.format("mine"))
    (tmp_path / "other.toml").write_text(description.format("other"))
    assert load_target("x86-tflite").title == "mine"
    assert load_target("other.toml").title == "other"


def test_unknown_target_names_the_nearest():
    with pytest.raises(BadInputError, match="did you mean 'jetson-orin-nano'"):
        load_target("jetson-orin-nona")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('backend = "openvino"\nbatches = [1, 8]', "for the backend tensorrt"),
        ('backend = "openvino"\nfloats = "float16"', "for the backend tensorrt"),
        ('backend = "tensorrt"\nbatch = 16\nbatches = [1, 8]', "leave out the batch, 16"),
        ('backend = "tensorrt"\nbatches = [1, 8]\nstatic_batch = true', "a batch that is not static"),
    ],
)
def test_what_an_engine_is_built_for_has_to_make_sense(tmp_path, settings, words):
    path = tmp_path / "t.toml"
    path.write_text(f'title = "t"\nscheme = "int8-symmetric"\n{settings}\n')
    with pytest.raises(BadInputError, match=words):
        load_target(str(path))


def test_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('title = "x"\nbackend = "tflite"\nscheme = "int8-asymmetric"\n[limits]\nmemory = 3\n')
    with pytest.raises(BadInputError, match=r"'limits.memory'; did you mean 'memory_mb'"):
        load_target(str(path))
