"""Struck at any file operation, a run says so in one line or is simply gone; the same command then ends as if not.

`make campaign` strikes at every operation; here at one or two of each stage.
"""

import re

import pytest

from tests.strikes.client import MISSING, Campaign

pytestmark = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    with Campaign(tmp_path_factory.mktemp("strikes")) as running:
        yield running


@pytest.mark.parametrize("how", ["kill", pytest.param("full", marks=pytest.mark.long)])
def test_struck_anywhere_the_same_command_ends_with_the_same_bytes(campaign, how):
    stages = campaign.ask("stages")
    assert len(stages) >= 12
    failures = []
    for turn, stage in enumerate(stages, start=0 if how == "kill" else len(stages)):
        points = campaign.ask("points", stage=stage)
        number = points[turn * 7 % len(points)]  # 7: each time another kind of operation
        found = campaign.ask("strike", stage=stage, number=number, how=how)
        failures += [f"{stage}, operation {number}, {how}: {found}"] if found else []
    assert not failures


@pytest.mark.parametrize("operation", ["open teacher/answers/[^/]*/.lock", "rename teacher/answers/[^/]*/view-0"])
def test_a_disk_that_is_full_where_the_teachers_answers_begin_or_end_is_said_in_words(campaign, operation):
    told = campaign.ask("operations", stage="student")
    [number] = [number for number, words in enumerate(told, 1) if re.fullmatch(operation, words)]
    assert campaign.ask("strike", stage="student", number=number, how="full") is None


@pytest.mark.long
@pytest.mark.parametrize("kind", ["stages/", "others"])
def test_a_bit_that_flips_in_any_file_of_a_run_is_found_or_harmless(campaign, kind):
    """In all records at once, then in all other files; the campaign flips one at a time."""
    names = campaign.ask("names")
    records = [name for name in names if name.startswith("stages/")]
    assert campaign.ask("flip", names=records if kind == "stages/" else sorted(set(names) - set(records))) is None
