from typing import Any

from edgekd.reporting.accuracy import steps, takeaway
from edgekd.reporting.run_record import RunRecord


def test_each_step_is_held_against_the_one_it_came_from(run: dict[str, Any]) -> None:
    small_run = {step.label: step for step in steps(RunRecord.of(run))}
    assert list(small_run) == [
        "Teacher",
        "Scratch student",
        "Distilled student",
        "int8-asymmetric",
        "int8-symmetric",
        "x86-tflite",
        "x86-openvino",
        "x86-onnxruntime",
        "jetson-orin-nano (not run)",
    ]
    assert small_run["Distilled student"].against is small_run["Scratch student"]
    assert small_run["int8-symmetric"].against is small_run["Distilled student"]
    assert small_run["x86-tflite"].against is small_run["int8-asymmetric"]
    jetson = small_run["jetson-orin-nano (not run)"]
    assert jetson.against is small_run["int8-symmetric"]
    assert not jetson.measured


def test_the_takeaway_counts_what_was_won_and_lost(run: dict[str, Any]) -> None:
    told = takeaway(steps(RunRecord.of(run)), RunRecord.of(run)).replace("\u00a0", " ")
    assert told == (
        "Trained from scratch, the student is 2.9 points below its teacher; distillation recovers 1.1 points. "
        "From distilled to the chip at most 0.3 points are lost."
    )
    run["student"]["metric"]["mean"] = 0.87
    told = takeaway(steps(RunRecord.of(run)), RunRecord.of(run)).replace("\u00a0", " ")
    assert "distillation costs another 0.9 points" in told
    assert "From distilled to the chip nothing is lost." in told


def test_a_missing_scratch_control_leaves_the_teacher_to_compare_with(run: dict[str, Any]) -> None:
    del run["student_scratch"]
    small_run = {step.label: step for step in steps(RunRecord.of(run))}
    assert small_run["Distilled student"].against is small_run["Teacher"]
    assert takeaway(steps(RunRecord.of(run)), RunRecord.of(run)).startswith("From distilled")
