import pytest

from edgekd.backends import find_backend
from edgekd.errors import BadInputError
from edgekd.quantization.scheme import find_scheme
from edgekd.target import builtin_targets, load_target


@pytest.mark.parametrize("name", builtin_targets())
def test_built_in_targets_name_a_backend_and_a_scheme_that_exist(name):
    target = load_target(name)
    assert target.name == name
    find_backend(target.backend)
    find_scheme(target.scheme)


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
