"""A run's bundles as others get them, and what becomes of a card on which somebody improved a number."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from edgekd.bundle import load_bundle
from edgekd.metrics import accuracy
from edgekd.pipeline.card import README, read_card, write_card
from edgekd.pipeline.replay import _scored, replay
from edgekd.reporting.card import Card, card_text
from edgekd.reporting.run_record import read_run
from tests.small_run import SmallRun, complaint, edgekd

TARGET = "x86-onnxruntime"
CARD = Card(license="apache-2.0", data_license="CC0-1.0", base_model="us/teacher")
TRAINED = {"teacher, trained", "scratch, trained", "student, trained"}


@pytest.fixture(scope="module")
def run(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, as if it had one target that was reached over ssh: each bundle that is replayed takes seconds."""
    folder = tmp_path_factory.mktemp("card") / "run"
    (folder / "bundles").mkdir(parents=True)
    for name in (TARGET, f"{TARGET}-float"):
        shutil.copytree(small_run.bundle(name), folder / "bundles" / name)
    shutil.copy(small_run.folder / "results.jsonl", folder)
    document = json.loads((small_run.folder / "run.json").read_text())
    document["targets"] = {TARGET: document["targets"][TARGET] | {"device": "ssh://me@my-desk"}}
    (folder / "run.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def card(run: Path, small_run: SmallRun, tmp_path: Path) -> Path:
    return write_card(run, tmp_path / "card", CARD, small_run.data)


def rewrite(card: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Improve a number of run.json, and the README with it, as a forger would."""
    document = json.loads((card / "run.json").read_text())
    change(document["targets"][TARGET]["variants"]["int8"])
    (card / "run.json").write_text(json.dumps(document))
    bundles = {path.name: load_bundle(path) for path in sorted((card / "bundles").iterdir())}
    (card / README).write_text(card_text(*read_card(card), bundles))


def test_each_number_is_derived_again(card: Path, run: Path) -> None:
    claims = {claim.what: claim for claim in replay(card)}
    assert {name for name, claim in claims.items() if not claim.holds} == TRAINED
    assert {f"{TARGET} int8: {what}" for what in ("bytes", "latency", "parity", "accuracy")} < claims.keys()
    assert {name: claim.holds for name, claim in claims.items() if name in TRAINED} == dict.fromkeys(TRAINED)


def test_what_was_trained_again_is_held_against_it(run: Path, tmp_path: Path) -> None:
    again = read_run(run / "run.json")
    card = write_card(run, tmp_path / "card", CARD)
    shutil.rmtree(card / "bundles")
    (card / "bundles").mkdir()
    worse = again.student.metric.model_copy(update={"mean": again.student.metric.mean - 0.01})
    other = again.model_copy(update={"student": again.student.model_copy(update={"metric": worse})})
    for trained, holds in ((again, True), (other, False)):
        claims = {claim.what: claim.holds for claim in replay(card, again=trained)}
        assert claims["teacher, trained"] is True
        assert claims["student, trained"] is holds
    assert "is not the card's" in complaint(edgekd("replay", card, "--recipe", "quickstart"), 2)


def test_the_card_says_what_a_model_hub_reads_and_not_where_devices_are(card: Path) -> None:
    _, front, text = (card / README).read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["license"], told["base_model"], told["metrics"]) == ("apache-2.0", "us/teacher", ["accuracy"])
    ((result,),) = (model["results"] for model in told["model-index"])
    accuracy = read_run(card / "run.json").targets[TARGET].metric
    assert (result["task"]["type"], result["metrics"][0]["value"]) == ("classification", accuracy.mean)
    assert f"| {TARGET} | int8 | {100 * accuracy.mean:.1f}" in text
    assert load_bundle(card / "bundles" / TARGET).files["model.onnx"].sha256 in text
    for path in card.rglob("*"):
        assert path.is_dir() or b"my-desk" not in path.read_bytes(), path


def test_every_forged_number_is_found(card: Path) -> None:
    rewrite(card, lambda int8: int8.update(metric=int8["metric"]["mean"] + 0.005))  # one sample of 200
    rewrite(card, lambda int8: int8["latency_ms"].update(low=int8["latency_ms"]["low"] * 0.99))
    path = card / "bundles" / f"{TARGET}-float" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    wrong = {claim.what: claim for claim in replay(card) if claim.holds is False}
    assert wrong.keys() == {
        f"bundles/{TARGET}-float", f"{TARGET} float", f"{TARGET} int8: latency", f"{TARGET} int8: accuracy",
    }  # fmt: skip
    assert "this machine and runtime gave that number" in str(wrong[f"{TARGET} int8: accuracy"].reason)


def test_what_cannot_be_told_is_not_called_wrong(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "inconclusive: no golden output moves by a step"
    monkeypatch.setattr("edgekd.pipeline.replay.verify_bundle", lambda _: {"ok": False, "unproven": told})
    rows = [json.loads(line) for line in (card / "results.jsonl").read_text().splitlines()]
    without = [{key: value for key, value in row.items() if key not in ("samples", "sha256")} for row in rows]
    (card / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in without))
    claims = {claim.what: claim for claim in replay(card)}
    parity, latency = (claims[f"{TARGET} int8: {what}"] for what in ("parity", "latency"))
    assert (parity.holds, parity.reason) == (None, told)
    assert (latency.holds, latency.reason) == (False, "results.jsonl has no samples of it")


def test_a_metric_is_that_of_the_output_that_it_reads() -> None:
    labels = np.array([0, 1, 1])
    outputs = {"boxes": np.zeros((3, 2)), "classes": np.eye(2, dtype=np.float32)[labels]}
    metric = replace(accuracy.metric(), reads="classes")
    answered = SimpleNamespace(
        metric=metric, samples=SimpleNamespace(labels=labels), outputs_on_device=lambda here: outputs,
        manifest=SimpleNamespace(outputs=[SimpleNamespace(name="boxes"), SimpleNamespace(name="classes")]),
    )  # fmt: skip
    assert _scored(answered, None)[0] == 1.0


def test_a_readme_that_says_more_than_its_numbers_is_found(card: Path) -> None:
    (card / README).write_text((card / README).read_text().replace("int8 | 9", "int8 | 10"))
    failed = edgekd("replay", card, "--json")
    assert failed.exit_code == 1
    assert [claim["what"] for claim in json.loads(failed.stdout) if claim["holds"] is False] == [README]


def test_what_is_no_card_or_no_proven_run_is_named(run: Path, tmp_path: Path) -> None:
    assert "edgekd card RUN" in complaint(edgekd("replay", tmp_path), 2)
    (tmp_path / "card.json").write_text("[" * 100_000)
    assert str(tmp_path / "card.json") in complaint(edgekd("replay", tmp_path), 2)
    shutil.copytree(run, tmp_path / "run")
    document = json.loads((run / "run.json").read_text())
    document["targets"][TARGET]["metric_source"] = "reference"
    (tmp_path / "run" / "run.json").write_text(json.dumps(document))
    words = ("card", tmp_path / "run", "--out", tmp_path / "card", "--license", "mit", "--data-license", "mit")
    assert "no device has proven a bundle" in complaint(edgekd(*words), 2)
