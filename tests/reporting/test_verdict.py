from typing import Any

from edgekd.reporting import latency, tables, verdict
from edgekd.reporting.run_record import RunRecord


def states(run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(promise.state, promise.text.replace("\u00a0", " ")) for promise in verdict.promises(RunRecord.of(run))]


def test_the_sample_keeps_what_it_keeps_and_says_what_it_does_not(run: dict[str, Any]) -> None:
    assert [state for state, _ in states(run)] == ["broken", "held", "held", "held", "held", "advice", "open", "open"]
    text = " ".join(text for _, text in states(run))
    for part in (
        "raspberry-pi-5 failed",
        "+1.1 points",
        "INT8 pays on x86-tflite and x86-openvino",
        "jetson-orin-nano is not proven: the graph was linted and parsed ahead of time; no device ran it.",
        "Not executed, for the recipe names no device: pixel-8.",
    ):
        assert part in text


def test_parity_holds_only_when_something_was_executed(run: dict[str, Any]) -> None:
    del run["targets"]["raspberry-pi-5"]
    held = "every executed target matches the reference (x86-tflite, x86-openvino and x86-onnxruntime)"
    assert held in states(run)[0][1]
    run["targets"] = {"jetson-orin-nano": run["targets"]["jetson-orin-nano"]}
    assert not [text for _, text in states(run) if "every executed target matches the reference" in text]


def test_losses_break_promises(run: dict[str, Any]) -> None:
    run["student"]["metric"] = {"mean": 0.87, "std": 0.002, "seeds": [0.868, 0.870, 0.872]}
    run["quantized"]["int8-symmetric"]["metric"]["mean"] = 0.86
    assert ("broken", "Distillation against training from scratch: −0.9 points.") in states(run)
    assert ("broken", "Quantising to int8-symmetric: −1.0 points (−0.5 points allowed).") in states(run)


def test_layers_kept_in_float_are_named(run: dict[str, Any]) -> None:
    run["quantized"]["int8-symmetric"] |= {"metric": run["student"]["metric"], "kept": ["stem", "head"]}
    assert any("allowed), stem and head in float." in text for state, text in states(run) if state == "held")


def test_one_seed_is_named_as_such(run: dict[str, Any]) -> None:
    run["seeds"] = [0]
    for entry in ("student", "student_scratch"):
        run[entry]["metric"]["seeds"] = run[entry]["metric"]["seeds"][:1]
    assert "one seed" in verdict.summary(RunRecord.of(run))
    assert (
        "open",
        "Distillation against training from scratch: +1.1 points. One seed: chance is not ruled out.",
    ) in states(run)


def test_a_gain_within_the_spread_of_its_seeds_stays_open(run: dict[str, Any]) -> None:
    """+4, -3 and +3.5 points: their mean, 1.5, is below two standard errors, 4.5."""
    run["student_scratch"]["metric"] = {"mean": 0.84, "std": 0.0, "seeds": [0.84, 0.84, 0.84]}
    run["student"]["metric"] = {"mean": 0.855, "std": 0.039, "seeds": [0.88, 0.81, 0.875]}
    told = "Distillation against training from scratch: +1.5 points. Seeds differ by as much: chance is not ruled out."
    assert ("open", told) in states(run)


def test_the_numbers_come_from_the_fastest_target_that_passed(run: dict[str, Any]) -> None:
    assert verdict.hero(RunRecord.of(run))[0] == "x86-openvino"
    run["targets"]["x86-openvino"]["status"] = "failed"
    assert verdict.hero(RunRecord.of(run))[0] == "x86-tflite"
    values = [tile.value.replace("\u00a0", " ") for tile in verdict.tiles(RunRecord.of(run))]
    assert values == ["88.9 %", "96.5 kB", "0.318 ms", "1.9 points"]


def test_a_latency_of_an_emulated_device_is_no_number(run: dict[str, Any]) -> None:
    for variant in run["targets"]["x86-openvino"]["variants"].values():
        variant["latency_ms"] |= {"flags": ["emulated"]}
    assert verdict.hero(RunRecord.of(run))[0] == "x86-tflite"
    assert ("open", "Executed on an emulated device: x86-openvino. No latency is claimed there.") in states(run)
    assert "x86-openvino" not in {point.target for point in latency.points(RunRecord.of(run))}
    assert all(row.p50 is None for row in tables.target_rows(RunRecord.of(run)) if row.target == "x86-openvino")


def test_without_a_device_nothing_is_claimed_of_speed(run: dict[str, Any]) -> None:
    run["targets"] = {"jetson-orin-nano": run["targets"]["jetson-orin-nano"]}
    tiles = {tile.label: tile for tile in verdict.tiles(RunRecord.of(run))}
    assert list(tiles) == ["Accuracy", "Parameters", "MACs", "Distillation tax"]
    assert tiles["Parameters"].note.replace("\u00a0", " ") == "teacher 272 k, 3.5 times more"


def test_without_targets_the_exported_graph_is_held_against_the_network(run: dict[str, Any]) -> None:
    run["targets"], run["quantized"] = {}, {}
    held = "The exported graph against the network that was trained: ±0.0 points."
    assert [text for _, text in states(run)] == ["Distillation against training from scratch: +1.1 points.", held]
    run["float"]["difference"] = -0.02
    assert [state for state, _ in states(run)] == ["held", "broken"]


def test_pairs_have_no_classes_and_another_metric(run: dict[str, Any]) -> None:
    run["metric_name"], run["data"]["classes"] = "spearman", 0
    assert "classes" not in verdict.summary(RunRecord.of(run))
    assert verdict.headline(RunRecord.of(run), "").endswith("of its teacher’s Spearman.")
    assert verdict.tiles(RunRecord.of(run))[0].label == "Spearman"


def test_a_student_as_good_as_its_teacher_is_called_so(run: dict[str, Any]) -> None:
    run["teacher"]["metric"]["mean"] = 0.88
    assert verdict.headline(RunRecord.of(run), "") == "A student 3.5 times smaller is as good as its teacher."
    assert verdict.headline(RunRecord.of({}), "a title") == "a title"


def test_a_fallback_breaks_a_promise_and_names_what_is_shipped(run: dict[str, Any]) -> None:
    target = run["targets"]["x86-tflite"]
    advice = "int8 is not proven here: ship float, 2.2× slower than int8, 3.3× larger and as accurate"
    target |= {"status": "fallback", "reason": "7 steps", "int8_pays": False, "best": "float", "advice": advice}
    target["variants"]["int8"]["broken"] = "7 steps"
    assert ("broken", "x86-tflite failed: 7 steps.") in states(run)
    assert ("advice", f"x86-tflite: {advice}.") in states(run)
    assert ("x86-tflite", "int8") not in {(point.target, point.variant) for point in latency.points(RunRecord.of(run))}
    assert ("x86-tflite", "float") in {(point.target, point.variant) for point in latency.points(RunRecord.of(run))}


def test_what_to_ship_is_said_where_int8_does_not_pay(run: dict[str, Any]) -> None:
    advice = "int8 does not pay here: ship dynamic-range, 1.4× faster than int8, no larger and as accurate"
    run["targets"]["x86-onnxruntime"] |= {"best": "dynamic-range", "advice": advice}
    assert ("advice", f"x86-onnxruntime: {advice}.") in states(run)
