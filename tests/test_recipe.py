import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.recipe import builtin_recipes, load_recipe

MINIMAL = """
targets = ["x86-tflite"]
[data]
name = "npz"
[teacher]
model = "resnet"
[student]
model = "resnet"
[[distillation]]
method = "kd"
"""


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_are_valid(name):
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("teacher.training.epoch=3", "unknown key 'teacher.training.epoch'; did you mean 'epochs'?"),
        ("data.nme=1", "unknown key 'data.nme'; did you mean 'name'?"),
        ("student.training.epochs=0", "at least one epoch"),
        ("teacher.training.epochs=-1", "teacher.training.epochs"),
        ("teacher.training.epochs=2.5", "teacher.training.epochs"),
        ("teacher.training.epochs=true", "teacher.training.epochs"),
        ("student.options=3", "student.options"),
        ("student.checkpoint=mine.safetensors", "student.checkpoint: a student is trained"),
        ("student.training.ema=1.0", "student.training.ema"),
        ("student.training.momentum=1.0", "student.training.momentum"),
        ("student.training.warmup=1.5", "student.training.warmup"),
        ("student.training.label_smoothing=1.5", "student.training.label_smoothing"),
        ("seed=9223372036854775808", "seed"),
        ("devices.nowhere=local:", "'nowhere' is not one of the targets"),
        ('targets=["x86-tflite", "x86-tflite"]', "named twice"),
        ("distillation=[]", "distillation"),
        ("distillation=[{weight = 1}]", "needs a 'method'"),
        ("epochs", "expected key=value"),
        ("title.x.y=1", "'x' is not inside a table"),
        ("seed.x=1", "seed"),
        ("student.training.learning_rate=nan", "student.training.learning_rate: nan is not a finite number"),
        ("quantization.max_drop=inf", "quantization.max_drop: inf"),
        ("benchmark.seconds=-inf", "benchmark.seconds: -inf"),
        ("cross_entropy={start = 1.0, end = nan}", "cross_entropy.end: nan"),
        ("teacher.training.betas=[0.9, nan]", "teacher.training.betas.1: nan"),
        ("student.options.dropout=nan", "student.options.dropout: nan"),
        ("data.options={ fractions = [0.5, inf] }", "data.options.fractions.1: inf"),
        ("distillation.0.temperature=inf", "distillation.0.temperature: inf"),
    ],
)
def test_a_wrong_key_is_one_line_with_the_nearest_valid_one(override, complaint):
    with pytest.raises(BadInputError) as caught:
        load_recipe("quickstart", [override])
    message = str(caught.value)
    assert complaint in message
    assert "\n" not in message


def test_overrides_reach_lists_tables_and_plain_strings():
    recipe = load_recipe(
        "quickstart", ["distillation.0.temperature=2", "student.options.width=8", "title=hello", "seeds=3"]
    )
    assert recipe.distillation[0]["temperature"] == 2
    assert recipe.student.options == {"depth": 8, "width": 8}
    assert (recipe.title, recipe.seeds) == ("hello", 3)


def test_a_users_file_takes_its_name_from_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize("content", [b"", b"targets = [", b"\xff\xfe", b"targets = 2020-01-01"])
def test_files_that_are_no_recipe(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="broken.toml"):
        load_recipe(str(path))


def test_missing_file_and_unknown_name():
    with pytest.raises(BadInputError, match="no such file"):
        load_recipe("nowhere.toml")
    with pytest.raises(BadInputError, match="did you mean 'quickstart'"):
        load_recipe("quickstrat")


@given(st.text(min_size=1), st.text())
def test_any_override_is_applied_or_refused(key, value):
    try:
        load_recipe("quickstart", [f"{key}={value}"])
    except BadInputError as error:
        assert "\n" not in str(error).strip("\n") or "\n" in key + value
