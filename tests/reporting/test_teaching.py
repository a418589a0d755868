from typing import Any

import pytest

from edgekd.metrics import Scale
from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.tables import learned, text
from edgekd.reporting.teaching import doubt_of_teacher, facts, models


def told(run: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        fact.label: (fact.value.replace("\u00a0", " "), fact.note.replace("\u00a0", " "))
        for fact in facts(RunRecord.of(run))
    }


def test_what_teaching_bought_has_its_deviation_over_seeds(run: dict[str, Any]) -> None:
    found = told(run)
    assert found["Distillation tax"][0] == "1.9 ± 0.2 points"
    assert found["Gap recovered"][0] == "36 ± 8 %"
    assert found["Agreement"][0] == "92.7 ± 0.4 %"
    for key in ("tax_std", "gap_recovered_std", "agreement_std"):
        run["distillation"][key] = None
    assert told(run)["Distillation tax"][0] == "1.9 points"


def test_every_loss_is_told_with_its_weight(run: dict[str, Any]) -> None:
    assert (
        told(run)["Methods"][0]
        == "kd × 0.9 (temperature 4), hint × 1 → 0 (layers stages.2 → stages.2) and cross-entropy × 0.1"
    )
    run["distillation"]["cross_entropy"] = {"start": 1.0, "end": 0.0, "until": 1.0, "shape": "linear"}
    assert told(run)["Methods"][0].endswith("and cross-entropy × 1 → 0")


def test_several_teachers_are_listed(run: dict[str, Any]) -> None:
    assert "Teachers" not in told(run)
    run["teachers"] = [{"name": "resnet", "parameters": 9, "metric": {"mean": value}} for value in (0.91, 0.9)]
    assert told(run)["Teachers"][0] == "resnet (91.0 %) and resnet (90.0 %)"


def test_the_exported_graph_is_held_against_the_network(run: dict[str, Any]) -> None:
    assert told(run)["Float ONNX, in the reference"] == (
        "89.0 %",
        "±0.0 points against the network that was trained",
    )


def test_what_is_doubtful_is_said_first(run: dict[str, Any]) -> None:
    assert "Doubtful" not in told(run)
    run["teacher"] |= {"may_be_chance": True, "chance": 0.1, "metric": {"mean": 0.11}, "parameters": 51_900}
    run["student"]["metric"], run["student_scratch"]["metric"] = {"mean": 0.88}, {"mean": 0.892}
    found = [fact for fact in facts(RunRecord.of(run)) if fact.label == "Doubtful"]
    assert facts(RunRecord.of(run))[:3] == found
    assert [fact.value.replace("\u00a0", " ") for fact in found] == ["11.0 %", "1.5 ×", "1.2 points"]
    assert "the teacher's accuracy, 11.0 %, may be chance, which gets 10.0 %" in found[0].note
    printed = text(learned(RunRecord.of(run)), width=200)
    for words in ("classes in another order", "larger than its teacher", "distillation cost points"):
        assert words in printed


def test_a_difference_that_is_not_shown_is_not_doubtful(run: dict[str, Any]) -> None:
    run["student"]["metric"], run["student_scratch"]["metric"] = {"mean": 0.89}, {"mean": 0.8901}
    assert "Doubtful" not in told(run)


def test_metrics_in_a_doubt_are_called_as_the_field_does() -> None:
    assert doubt_of_teacher(Scale("ap50"), 0.04, 0.05).startswith("the teacher's AP50, 4.0 %, may be chance")


def test_agreement_of_embeddings_is_one_of_ranks(run: dict[str, Any]) -> None:
    run["metric_name"] = "spearman"
    assert told(run)["Agreement"][1] == "the student’s Spearman by the teacher’s answers"


def test_models_are_compared_with_their_teacher(run: dict[str, Any]) -> None:
    rows = {row.name: row for row in models(RunRecord.of(run))}
    assert rows["teacher"].parameters_ratio is None
    assert rows["distilled student"].parameters_ratio == pytest.approx(272_186 / 77_850)
    assert rows["scratch student"].others["calibration_error"].value == 0.052
    assert rows["int8-symmetric"].others["calibration_error"].value is None
    printed = text(learned(RunRecord.of(run)), width=80).replace("\u00a0", " ")
    for part in ("77.8 k ÷ 3.5", "9.40 M ÷ 3.3", "2.8 % ± 0.2", "1.9 ± 0.2 points"):
        assert part in printed


def test_an_older_run_and_an_empty_one_are_told_as_far_as_known(run: dict[str, Any]) -> None:
    run["distillation"] = {"tax": 0.01, "gap_recovered": None, "reason": "chance"}
    del run["float"]
    assert told(run)["Gap recovered"][0] == "not known (chance)"
    assert text(learned(RunRecord.of(run)))
    assert facts(RunRecord.of({})) == models(RunRecord.of({})) == []
