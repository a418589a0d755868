"""A method without options is its paper's: what each hyper-parameter is worth where a recipe says nothing."""

from dataclasses import MISSING, fields

import pytest

from edgekd.distillation import method_class
from edgekd.plugins import names

PAPERS = {
    "attention": {"p": 2.0, "weight": 1000.0},
    "attention_map": {"weight": 1.0},
    "born_again": {"generations": 2, "temperature": 1.0, "weight": 1.0},
    "crd": {"negatives": 512, "dimension": 128, "temperature": 0.07, "momentum": 0.5, "weight": 0.8},
    "cwd": {"temperature": 4.0, "weight": 3.0},
    "dist": {"beta": 2.0, "gamma": 2.0, "temperature": 4.0, "weight": 1.0},
    "dkd": {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, "weight": 1.0},
    "embedding": {"structure": 4.0, "weight": 1.0},
    "heat_map": {"boxes": 0.0, "weight": 1.0},
    "hidden": {"weight": 1.0},
    "hint": {"weight": 1.0},
    "kd": {"temperature": 4.0, "weight": 0.9, "standardize": False},
    "ld": {"bins": 17, "temperature": 10.0, "weight": 0.0},
    "mse": {"weight": 1.0},
    "multi_teacher": {"temperature": 4.0, "weight": 0.9},
    "mutual": {"peers": 1, "weight": 1.0},
    "nst": {"weight": 50.0},
    "pkd": {"weight": 6.0},
    "pkt": {"weight": 30000.0},
    "relation": {"relation_heads": 48, "weight": 1.0},
    "review": {"weight": 1.0},
    "rkd": {"distance_weight": 25.0, "angle_weight": 50.0, "weight": 1.0},
    "similarity": {"weight": 3000.0},
    "simkd": {"factor": 2, "weight": 1.0},
    "taid": {"t_start": 0.4, "t_end": 1.0, "alpha": 5e-4, "beta": 0.99, "weight": 1.0},
}


@pytest.mark.parametrize("name", names("edgekd.distillation"))
def test_numbers_that_a_recipe_does_not_give_are_the_papers(name: str) -> None:
    kind = method_class(name)
    found = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    assert {key: value for key, value in found.items() if isinstance(value, int | float)} == PAPERS[
        name.replace("-", "_")
    ]
